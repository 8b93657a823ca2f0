// docs/configuration.md, made from the tables of options and settings: etl-stream help configuration prints it.
#ifndef ETL_CLI_REFERENCE_H
#define ETL_CLI_REFERENCE_H

void reference_print(void);

#endif
