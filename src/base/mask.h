// Passwords in URLs are not shown, wherever the text comes from.
#ifndef ETL_BASE_MASK_H
#define ETL_BASE_MASK_H

// Overwrites the password of every scheme://user:password@… in the text, and the value of every password= in a URL's query,
// with asterisks; the text keeps its length but for what a password had beyond three characters.
void mask_passwords(char *text);
// The same in place, every character of it, for memory that others can read (argv): the text keeps its length.
void mask_passwords_whole(char *text);

#endif
