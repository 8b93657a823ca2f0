#include "io/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "io/lock.h"
#include "io/wakeup.h"

enum {
    THREADS_MAX = 8,       // look-ups that run at the same time
    JOBS_MAX = 4096,       // asked and not yet answered
    IDLE_MS_MAX = 10000,   // after which a thread without work ends
    HOST_SIZE_MAX = 1024,  // a DNS name has 253 bytes, a link-local address with its interface far less
    ADDRESSES_MAX = 16,    // tried one after the other by whoever connects
    ADDRESSES_SIZE = ADDRESSES_MAX * 64
};

// One look-up. It belongs to whichever list it is in, or to the thread that works on it.
struct job {
    struct job *next;
    uint64_t id;
    int outcome;       // of getaddrinfo
    int system_error;  // errno where the outcome is EAI_SYSTEM
    char addresses[ADDRESSES_SIZE];
    char host[];
};

struct job_list {
    struct job *first;
    struct job *last;
};

// What the loop's side and the threads share. It lives until the last of them lets go, which may be long after
// resolver_free: a thread inside getaddrinfo cannot be interrupted.
struct core {
    struct lock lock;  // guards what follows; getaddrinfo and the eventfd are outside of it
    pthread_cond_t has_work;
    uint32_t user_count;  // the loop's side and each thread
    uint32_t idle_count;  // threads that wait for work
    uint32_t queued_count;
    bool is_closed;
    bool is_wake_pending;  // as in mailbox.c
    struct job_list asked;
    struct job_list answered;
    int event_fd;
};

struct resolver {
    struct loop *loop;
    struct core *core;
    struct loop_watch watch;
    struct loop_deferred deferred;  // answers that needed no thread
    struct job_list numeric;
    struct resolver_request *active;  // asked and not yet answered, the newest first
    uint32_t active_count;
    uint64_t last_id;
    bool is_answering;
};

static void list_add(struct job_list *list, struct job *job)
{
    job->next = NULL;
    if (list->last != NULL)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

static struct job *list_take(struct job_list *list)
{
    struct job *job = list->first;
    if (job == NULL)
        return NULL;
    list->first = job->next;
    if (list->first == NULL)
        list->last = NULL;
    job->next = NULL;
    return job;
}

static struct job *list_take_id(struct job_list *list, uint64_t id)
{
    struct job *previous = NULL;
    for (struct job *job = list->first; job != NULL; previous = job, job = job->next) {
        if (job->id != id)
            continue;
        if (previous == NULL)
            return list_take(list);
        previous->next = job->next;
        if (list->last == job)
            list->last = previous;
        return job;
    }
    return NULL;
}

static void list_free(struct job_list *list)
{
    for (struct job *job; (job = list_take(list)) != NULL;)
        free(job);
}

// ---- either side

static void core_free(struct core *core)
{
    list_free(&core->asked);
    list_free(&core->answered);
    close(core->event_fd);
    CHECK(pthread_cond_destroy(&core->has_work) == 0);
    lock_deinit(&core->lock);
    free(core);
}

static void look_up(struct job *job, int flags)
{
    lock_check_none();
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found = NULL;
    job->outcome = getaddrinfo(job->host, NULL, &hints, &found);
    job->system_error = job->outcome == EAI_SYSTEM ? errno : 0;
    job->addresses[0] = '\0';
    if (job->outcome != 0)
        return;
    size_t size = 0;
    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        char text[64];
        if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        size_t text_size = strlen(text);
        if (text_size + 2 > sizeof job->addresses - size)
            break;
        if (size > 0)
            job->addresses[size++] = ',';
        memcpy(job->addresses + size, text, text_size + 1);
        size += text_size;
    }
    freeaddrinfo(found);
    if (size == 0)
        job->outcome = EAI_NONAME;
}

// ---- the threads

// The next job, or NULL when this thread has to end; it then is no user of the core any more.
static struct job *thread_next(struct core *core, bool *out_is_last)
{
    *out_is_last = false;
    lock_acquire(&core->lock);
    bool waited_long = false;
    while (core->asked.first == NULL && !core->is_closed && !waited_long) {
        core->idle_count++;
        waited_long = !lock_wait(&core->lock, &core->has_work, IDLE_MS_MAX);
        core->idle_count--;
    }
    struct job *job = core->is_closed ? NULL : list_take(&core->asked);
    if (job != NULL)
        core->queued_count--;
    else
        *out_is_last = --core->user_count == 0;
    lock_release(&core->lock);
    return job;
}

static void thread_answer(struct core *core, struct job *job)
{
    lock_acquire(&core->lock);
    list_add(&core->answered, job);
    bool must_wake = !core->is_wake_pending;
    core->is_wake_pending = true;
    lock_release(&core->lock);
    // The descriptor is open: the core is closed by its last user, and this thread is one still.
    if (must_wake)
        wakeup_signal(core->event_fd);
}

static void *run_thread(void *context)
{
    struct core *core = context;
    bool is_last;
    for (struct job *job; (job = thread_next(core, &is_last)) != NULL;) {
        look_up(job, 0);
        thread_answer(core, job);
    }
    if (is_last)
        core_free(core);
    return NULL;
}

// The thread counts as a user from before it runs.
static bool start_thread(struct core *core)
{
    // Signals belong to the main thread's loop.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0);
    pthread_t thread;
    bool is_started = pthread_create(&thread, &attributes, run_thread, core) == 0;
    pthread_attr_destroy(&attributes);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return is_started;
}

// ---- the loop's side

static struct resolver_request *take_active(struct resolver *resolver, uint64_t id)
{
    for (struct resolver_request **link = &resolver->active; *link != NULL; link = &(*link)->next) {
        struct resolver_request *request = *link;
        if (request->id != id)
            continue;
        *link = request->next;
        request->next = NULL;
        request->id = 0;
        resolver->active_count--;
        return request;
    }
    return NULL;
}

static void describe(const struct job *job, struct err *out_error)
{
    const char *why = job->outcome == EAI_SYSTEM ? strerror(job->system_error) : gai_strerror(job->outcome);
    switch (job->outcome) {
    case EAI_NONAME:
    case EAI_NODATA:
        err_set(out_error, ERR_CONFIG, "unknown_host", "the host name \"%s\" is not known (%s)", job->host, why);
        return;
    case EAI_MEMORY:
        err_set(out_error, ERR_INTERNAL, "", "cannot look up the host name \"%s\": %s", job->host, why);
        return;
    default:
        err_set(out_error, ERR_TRANSIENT, "name_resolution", "cannot look up the host name \"%s\" now: %s", job->host,
                why);
    }
}

static void answer(struct resolver *resolver, struct job *take_job)
{
    struct resolver_request *request = take_active(resolver, take_job->id);
    if (request != NULL) {  // else it was cancelled
        resolver->is_answering = true;
        if (take_job->outcome == 0) {
            request->on_done(request, take_job->addresses, NULL);
        } else {
            struct err error;
            describe(take_job, &error);
            request->on_done(request, NULL, &error);
        }
        resolver->is_answering = false;
    }
    free(take_job);
}

static void on_wake(struct loop_watch *watch, unsigned events)
{
    (void)events;
    struct resolver *resolver = watch->context;
    struct core *core = resolver->core;
    wakeup_drain(core->event_fd);
    lock_acquire(&core->lock);
    struct job_list answered = core->answered;
    core->answered = (struct job_list){0};
    core->is_wake_pending = false;
    lock_release(&core->lock);
    for (struct job *job; (job = list_take(&answered)) != NULL;)
        answer(resolver, job);
}

static void on_deferred(struct loop_deferred *deferred)
{
    struct resolver *resolver = deferred->context;
    // Taken as a whole: what an answer asks anew is answered in the next turn.
    struct job_list numeric = resolver->numeric;
    resolver->numeric = (struct job_list){0};
    for (struct job *job; (job = list_take(&numeric)) != NULL;)
        answer(resolver, job);
}

struct resolver *resolver_new(struct loop *loop, struct err *out_error)
{
    struct resolver *resolver = calloc(1, sizeof *resolver);
    struct core *core = calloc(1, sizeof *core);
    if (resolver == NULL || core == NULL) {
        err_set(out_error, ERR_INTERNAL, "", "out of memory for a resolver");
        goto failed;
    }
    if (!wakeup_open("resolver", &core->event_fd, out_error))
        goto failed;
    resolver->loop = loop;
    resolver->core = core;
    resolver->deferred = (struct loop_deferred){.call = on_deferred, .context = resolver};
    resolver->watch = (struct loop_watch){.on_ready = on_wake, .context = resolver, .fd = -1};
    if (!loop_watch_set(loop, &resolver->watch, core->event_fd, LOOP_READ, out_error)) {
        close(core->event_fd);
        goto failed;
    }
    lock_init(&core->lock);
    lock_condition_init(&core->has_work);
    core->user_count = 1;
    return resolver;
failed:
    free(core);
    free(resolver);
    return NULL;
}

void resolver_free(struct resolver *resolver)
{
    if (resolver == NULL)
        return;
    CHECK(!resolver->is_answering);
    while (resolver->active != NULL)
        take_active(resolver, resolver->active->id);
    list_free(&resolver->numeric);
    loop_defer_stop(resolver->loop, &resolver->deferred);
    loop_watch_stop(resolver->loop, &resolver->watch);

    struct core *core = resolver->core;
    lock_acquire(&core->lock);
    core->is_closed = true;
    bool is_last = --core->user_count == 0;
    if (!is_last)
        pthread_cond_broadcast(&core->has_work);
    lock_release(&core->lock);
    if (is_last)
        core_free(core);
    free(resolver);
}

// Puts the job in the queue and sees to it that a thread is there for it. False: none could be started.
static bool ask(struct core *core, struct job *job)
{
    lock_acquire(&core->lock);
    list_add(&core->asked, job);
    core->queued_count++;
    // More work than waiting threads: one thread more, if it may be. idle_count includes those that were woken and have
    // not run yet, and for these there is a job in the queue too.
    bool needs_thread = core->queued_count > core->idle_count && core->user_count - 1 < THREADS_MAX;
    if (needs_thread)
        core->user_count++;
    else
        pthread_cond_signal(&core->has_work);
    lock_release(&core->lock);
    if (!needs_thread || start_thread(core))
        return true;

    lock_acquire(&core->lock);
    bool has_threads = --core->user_count > 1;
    struct job *taken = has_threads ? NULL : list_take_id(&core->asked, job->id);
    if (taken != NULL)
        core->queued_count--;
    lock_release(&core->lock);
    return taken == NULL;  // with other threads at work the job waits for one of them
}

bool resolver_start(struct resolver *resolver, struct resolver_request *request, const char *host,
                    struct err *out_error)
{
    CHECK(request->id == 0);
    size_t host_size = strlen(host);
    if (host_size == 0 || host_size > HOST_SIZE_MAX)
        return err_set(out_error, ERR_CONFIG, "unknown_host", "a host name has 1 to 253 characters, this one has %zu",
                       host_size);
    if (resolver->active_count >= JOBS_MAX)
        return err_set(out_error, ERR_TRANSIENT, "name_resolution",
                       "cannot look up the host name \"%s\": %d look-ups are waiting already", host, JOBS_MAX);
    struct job *job = calloc(1, sizeof *job + host_size + 1);
    if (job == NULL)
        return err_set(out_error, ERR_INTERNAL, "", "out of memory looking up a host name");
    memcpy(job->host, host, host_size + 1);
    job->id = ++resolver->last_id;

    // Decides without a name server or a file whether this is an address: does not block.
    look_up(job, AI_NUMERICHOST);
    if (job->outcome == 0) {
        list_add(&resolver->numeric, job);
        loop_defer(resolver->loop, &resolver->deferred);
    } else if (!ask(resolver->core, job)) {
        free(job);
        return err_set(out_error, ERR_INTERNAL, "", "cannot start a thread to look up \"%s\"", host);
    }
    request->id = resolver->last_id;
    request->next = resolver->active;
    resolver->active = request;
    resolver->active_count++;
    return true;
}

void resolver_cancel(struct resolver *resolver, struct resolver_request *request)
{
    if (request->id == 0)
        return;
    uint64_t id = request->id;
    CHECK(take_active(resolver, id) == request);
    // Not yet begun: it need not be. Else its answer finds nobody and is dropped.
    struct core *core = resolver->core;
    lock_acquire(&core->lock);
    struct job *job = list_take_id(&core->asked, id);
    if (job != NULL)
        core->queued_count--;
    lock_release(&core->lock);
    free(job);
}
