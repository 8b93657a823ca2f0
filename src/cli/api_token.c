#include "cli/api_token.h"

#include <stdio.h>

#include "sinks/snowflake/sf_secret.h"

bool api_token_read(const char *file, struct http_token *out_token, struct err *out_error)
{
    struct sf_secret given = {0}, variable = {0};
    char origin[512] = "ETL_API_TOKEN";
    *out_token = (struct http_token){0};
    // Read in any case: it is not to stay in the environment.
    if (!sf_secret_read_variable("ETL_API_TOKEN", &variable, out_error))
        return false;
    bool is_read = true;
    if (file != NULL) {
        (void)snprintf(origin, sizeof origin, "the token in %s", file);
        is_read = sf_secret_read_file(file, "the API's token", &given, out_error);
    } else if (variable.text == NULL) {
        (void)snprintf(origin, sizeof origin, "the credential etl_api_token");
        is_read = sf_secret_read_credential("etl_api_token", "the API's token", &given, out_error);
    }
    const struct sf_secret *token = given.text != NULL ? &given : &variable;
    if (is_read && token->text != NULL)
        is_read = http_token_set(out_token, origin, token->text, token->size, out_error);
    sf_secret_deinit(&given);
    sf_secret_deinit(&variable);
    return is_read;
}
