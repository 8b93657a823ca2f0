// The page at / and its files, which are compiled in. It reads /api/v1 like anybody else.
#include <string.h>

#include "embedded_page.h"
#include "http/routes.h"

static void answer_file(struct http_request *request, const char *name)
{
    for (const struct embedded_file *file = embedded_page; file->name != NULL; file++) {
        if (strcmp(file->name, name) == 0) {
            http_answer_file(request, file->content_type, file->bytes, file->size);
            return;
        }
    }
    http_answer_error(request, 404, "/ is the page", "there is no %s", request->path);
}

void page_index(struct http_request *request)
{
    answer_file(request, "index.html");
}

void page_file(struct http_request *request)
{
    answer_file(request, request->name);
}
