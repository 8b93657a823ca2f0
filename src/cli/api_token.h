// The token of the page and the API, from where an operator keeps it.
#ifndef ETL_CLI_API_TOKEN_H
#define ETL_CLI_API_TOKEN_H

#include "http/guard.h"

// file (NULL: none), else the variable ETL_API_TOKEN, else the systemd credential etl_api_token; out_token->is_set false:
// there is none. The variable is wiped from the environment. sf_key_process_init was called. False: ERR_CONFIG.
bool api_token_read(const char *file, struct http_token *out_token, struct err *out_error);

#endif
