// Assertions that stay on in production. For programmer errors only, never for input.
#ifndef ETL_BASE_CHECK_H
#define ETL_BASE_CHECK_H

_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

#endif
