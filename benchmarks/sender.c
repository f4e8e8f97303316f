/* The server of the benchmarks: sends what was rendered beforehand as fast as a client takes it.
 *
 * sender EVENTS ITEMS LINES LIST_SIZE LINE_COUNT
 *
 * EVENTS holds messages for a flood, ITEMS messages of a list (the word @ID@ stands for the ActionID), LINES the
 * lines of output of a command. The port is printed on standard output. Standard input takes "flood COUNT RATE"
 * (events a second to every session that has logged in; 0: as fast as they are taken) and its end ends the program.
 * When a flood has been sent, with an event Reload behind it, "flooded COUNT" is printed.
 *
 * Answers never wait for a flood: it goes out in slices of SLICE bytes that end with a message, and answers go
 * between two of them. The kernel is kept from holding more than SNDBUF bytes back, so that what an answer waits
 * for under a flood is the client, not this program.
 *
 * replay.py does the same where there is no compiler; its docstring says what each action is answered.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SLICE 16384
#define SNDBUF 65536
#define SESSIONS 64

struct block {
    char *data;
    size_t size;
    size_t *ends; /* where each message ends */
    size_t count;
};

struct run { /* messages of a block, round and round */
    struct block *block;
    long long left;
    size_t next;
    double rate, begun;
    long long sent;
};

struct session {
    int fd, logged_in, closing;
    char in[65536];
    size_t in_size;
    char *replies;
    size_t replies_size, replies_room;
    struct block items;
    struct run list, flood;
    char list_end[512];
    const char *out; /* the slice under way */
    size_t out_left;
    char *out_owned;
};

static struct block events, items;
static char *lines;
static size_t lines_size;
static long list_size, line_count;
static struct session *sessions[SESSIONS];
static const char *end_of_flood = "Event: Reload\r\nPrivilege: system,all\r\nModule: All\r\nStatus: 0\r\n\r\n";

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void *need(void *memory) {
    if (memory == NULL) {
        perror("sender");
        exit(1);
    }
    return memory;
}

static char *read_file(const char *path, size_t *size) {
    FILE *file = need(fopen(path, "rb"));
    fseek(file, 0, SEEK_END);
    *size = ftell(file);
    rewind(file);
    char *data = need(malloc(*size + 1));
    if (fread(data, 1, *size, file) != *size)
        need(NULL);
    data[*size] = 0;
    fclose(file);
    return data;
}

static void index_block(struct block *block) {
    size_t room = 1024, at = 0;
    block->ends = need(malloc(room * sizeof *block->ends));
    block->count = 0;
    char *found;
    while ((found = memmem(block->data + at, block->size - at, "\r\n\r\n", 4)) != NULL) {
        at = found - block->data + 4;
        if (block->count == room)
            block->ends = need(realloc(block->ends, (room *= 2) * sizeof *block->ends));
        block->ends[block->count++] = at;
    }
}

static void reply(struct session *s, const char *data, size_t size) {
    while (s->replies_size + size > s->replies_room)
        s->replies = need(realloc(s->replies, s->replies_room = (s->replies_room + size) * 2));
    memcpy(s->replies + s->replies_size, data, size);
    s->replies_size += size;
}

static void render_items(struct session *s, const char *id) {
    size_t id_size = strlen(id), count = 0;
    const char *at = items.data, *found;
    for (const char *p = at; (p = strstr(p, "@ID@")) != NULL; p += 4)
        count++;
    char *out = s->items.data = need(realloc(s->items.data, items.size + count * (id_size + 1)));
    while ((found = strstr(at, "@ID@")) != NULL) {
        out = mempcpy(out, at, found - at);
        out = mempcpy(out, id, id_size);
        at = found + 4;
    }
    out = mempcpy(out, at, items.data + items.size - at);
    s->items.size = out - s->items.data;
    free(s->items.ends);
    index_block(&s->items);
}

static void header(const char *message, const char *name, char *value, size_t room) {
    size_t size = strlen(name);
    *value = 0;
    for (const char *line = message; *line && *line != '\r'; line = strstr(line, "\r\n") + 2) {
        if (strncasecmp(line, name, size) == 0 && line[size] == ':') {
            line += size + 1 + (line[size + 1] == ' ');
            size_t length = strcspn(line, "\r\n");
            snprintf(value, room, "%.*s", (int)(length < room ? length : room - 1), line);
            return;
        }
    }
}

static void answer(struct session *s, const char *message) {
    char action[64], id[128], idline[160] = "", text[1024];
    const char *more = "Message: OK\r\n", *status = "Success";
    header(message, "Action", action, sizeof action);
    header(message, "ActionID", id, sizeof id);
    if (*id)
        snprintf(idline, sizeof idline, "ActionID: %s\r\n", id);
    if (!strcasecmp(action, "Ping"))
        more = "Ping: Pong\r\nTimestamp: 1795311952.751243\r\n";
    else if (!strcasecmp(action, "Challenge"))
        more = "Challenge: 123456789\r\n";
    else if (!strcasecmp(action, "Login"))
        more = "Message: Authentication accepted\r\n";
    else if (!strcasecmp(action, "CoreShowChannels"))
        more = "EventList: start\r\nMessage: Channels will follow\r\n";
    else if (!strcasecmp(action, "Command"))
        more = "Message: Command output follows\r\n";
    else if (!strcasecmp(action, "Logoff"))
        status = "Goodbye", more = "Message: Thanks for all the fish.\r\n", s->closing = 1;
    int size = snprintf(text, sizeof text, "Response: %s\r\n%s%s", status, idline, more);
    reply(s, text, size);
    if (!strcasecmp(action, "Command"))
        reply(s, lines, lines_size);
    reply(s, "\r\n", 2);
    if (!strcasecmp(action, "Login")) {
        s->logged_in = 1;
        const char *booted = "Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 53\r\nLastReload: 53\r\n"
                             "Status: Fully Booted\r\n\r\n";
        reply(s, booted, strlen(booted));
    } else if (!strcasecmp(action, "CoreShowChannels")) {
        render_items(s, id);
        s->list = (struct run){.block = &s->items, .left = list_size};
        snprintf(s->list_end, sizeof s->list_end,
                 "Event: CoreShowChannelsComplete\r\n%sEventList: Complete\r\nListItems: %ld\r\n\r\n", idline, list_size);
        if (list_size == 0)
            reply(s, s->list_end, strlen(s->list_end));
    }
}

/* Take the next slice of a run; 0 when none is due yet. */
static int slice(struct session *s, struct run *run) {
    if (run->left == 0)
        return 0;
    size_t most = SLICE;
    long long due = run->left;
    if (run->rate > 0) {
        due = (long long)((now() - run->begun) * run->rate) - run->sent;
        if (due > run->left)
            due = run->left;
        if (due <= 0)
            return 0;
    }
    struct block *block = run->block;
    size_t from = run->next ? block->ends[run->next - 1] : 0, to = from, next = run->next;
    while (due > 0 && next < block->count && to - from < most) {
        to = block->ends[next++];
        due--;
        run->left--;
        run->sent++;
    }
    run->next = next == block->count ? 0 : next;
    s->out = block->data + from;
    s->out_left = to - from;
    if (run->left == 0) {
        if (run == &s->flood) {
            reply(s, end_of_flood, strlen(end_of_flood));
            printf("flooded %lld\n", run->sent);
            fflush(stdout);
        } else
            reply(s, s->list_end, strlen(s->list_end));
    }
    return 1;
}

static int next_slice(struct session *s) {
    free(s->out_owned);
    s->out_owned = NULL;
    if (s->replies_size) {
        s->out = s->out_owned = s->replies;
        s->out_left = s->replies_size;
        s->replies = NULL;
        s->replies_size = s->replies_room = 0;
        return 1;
    }
    return slice(s, &s->list) || slice(s, &s->flood);
}

static int fail(void) { return errno != EAGAIN && errno != EINTR; }

static int read_actions(struct session *s) {
    ssize_t got = recv(s->fd, s->in + s->in_size, sizeof s->in - 1 - s->in_size, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && fail()))
        return 0;
    if (got < 0)
        return 1;
    s->in_size += got;
    s->in[s->in_size] = 0;
    char *at = s->in, *end;
    while ((end = strstr(at, "\r\n\r\n")) != NULL) {
        end[2] = 0;
        answer(s, at);
        at = end + 4;
    }
    s->in_size -= at - s->in;
    memmove(s->in, at, s->in_size);
    return 1;
}

static int write_some(struct session *s) {
    if (s->out_left == 0 && !next_slice(s))
        return s->closing ? 0 : 1;
    ssize_t sent = send(s->fd, s->out, s->out_left, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return !fail();
    s->out += sent;
    s->out_left -= sent;
    return 1;
}

static void drop(int n) {
    struct session *s = sessions[n];
    close(s->fd);
    free(s->replies);
    free(s->items.data);
    free(s->items.ends);
    free(s->out_owned);
    free(s);
    sessions[n] = NULL;
}

static void welcome(int listener) {
    int fd = accept(listener, NULL, NULL), n = 0, size = SNDBUF, on = 1;
    while (n < SESSIONS && sessions[n] != NULL)
        n++;
    if (fd < 0 || n == SESSIONS) {
        close(fd);
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct session *s = sessions[n] = need(calloc(1, sizeof *s));
    s->fd = fd;
    reply(s, "Asterisk Call Manager/11.0.0\r\n", 30);
}

static int obey(void) {
    char text[256];
    ssize_t got = read(0, text, sizeof text - 1);
    if (got <= 0)
        return 0;
    text[got] = 0;
    long long count;
    double rate;
    if (sscanf(text, "flood %lld %lf", &count, &rate) == 2)
        for (int n = 0; n < SESSIONS; n++)
            if (sessions[n] != NULL && sessions[n]->logged_in)
                sessions[n]->flood = (struct run){.block = &events, .left = count, .rate = rate, .begun = now()};
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: sender EVENTS ITEMS LINES LIST_SIZE LINE_COUNT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    events.data = read_file(argv[1], &events.size);
    items.data = read_file(argv[2], &items.size);
    index_block(&events);
    size_t size, at = 0;
    char *some = read_file(argv[3], &size);
    list_size = atol(argv[4]);
    line_count = atol(argv[5]);
    for (long n = 0, room = 0; n < line_count; n++) {
        if (at == size)
            at = 0;
        char *end = memchr(some + at, '\n', size - at);
        size_t length = end + 1 - (some + at);
        if (lines_size + length > (size_t)room)
            lines = need(realloc(lines, room = (room + length) * 2));
        memcpy(lines + lines_size, some + at, length);
        lines_size += length;
        at += length;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_size = sizeof address;
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 64))
        need(NULL);
    getsockname(listener, (void *)&address, &address_size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct pollfd polled[SESSIONS + 2] = {{.fd = 0, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
        int which[SESSIONS + 2], count = 2, timeout = -1;
        for (int n = 0; n < SESSIONS; n++) {
            struct session *s = sessions[n];
            if (s == NULL)
                continue;
            int waits = s->flood.left && s->flood.rate > 0; /* for the next event to be due */
            int writes = s->out_left || s->replies_size || s->list.left || s->closing || (s->flood.left && !waits);
            if (waits)
                timeout = 1;
            which[count] = n;
            polled[count++] = (struct pollfd){.fd = s->fd, .events = POLLIN | (writes ? POLLOUT : 0)};
        }
        if (poll(polled, count, timeout) < 0 && errno != EINTR)
            return 1;
        if (polled[0].revents && !obey())
            return 0;
        if (polled[1].revents)
            welcome(listener);
        for (int n = 2; n < count; n++) {
            struct session *s = sessions[which[n]];
            int lives = 1;
            if (polled[n].revents & (POLLIN | POLLHUP | POLLERR))
                lives = read_actions(s);
            /* Written at once, without another look by poll: a round trip should be as short as it can be. */
            if (lives && (polled[n].revents & POLLOUT || s->replies_size || (s->flood.left && s->flood.rate > 0)))
                lives = write_some(s);
            if (!lives)
                drop(which[n]);
        }
    }
}
