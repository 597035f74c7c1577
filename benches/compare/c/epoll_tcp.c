/*
 * The kernel's limit: what an echo over TCP costs when nothing is done but what the kernel asks for.
 * One thread, one epoll, one buffer; what one read brought is written at once, and a connection that
 * does not take it is not read from until it has. It has no limits and counts nothing: it is a
 * yardstick for servers, not one of them.
 *
 * usage: epoll_tcp PORT        echoes on 127.0.0.1
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 64 << 10, MAX_EVENTS = 1024, BACKLOG = 4096 };

/* By descriptor. */
struct connection {
    char *pending;          /* what the socket did not take; of one read at most */
    size_t length, taken;
};

static char input[BUFFER];
static struct connection *connections;
static int epoll;

static void *must(void *pointer) {
    if (!pointer) {
        perror("epoll_tcp: memory");
        exit(1);
    }
    return pointer;
}

static void watch(int operation, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, operation, fd, &event) < 0) {
        perror("epoll_tcp: epoll_ctl");
        exit(1);
    }
}

static void end(int fd) {
    free(connections[fd].pending);
    connections[fd] = (struct connection){0};
    close(fd);
}

static void on_readable(int fd) {
    ssize_t came = recv(fd, input, BUFFER, 0);
    if (came <= 0) {
        if (came == 0 || errno != EAGAIN)
            end(fd);
        return;
    }
    ssize_t went = send(fd, input, (size_t)came, MSG_NOSIGNAL);
    if (went < 0 && errno != EAGAIN) {
        end(fd);
        return;
    }
    if (went < 0)
        went = 0;
    if (went < came) {
        struct connection *connection = &connections[fd];
        connection->length = (size_t)(came - went);
        connection->taken = 0;
        connection->pending = must(malloc(connection->length));
        memcpy(connection->pending, input + went, connection->length);
        watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
    }
}

static void on_writable(int fd) {
    struct connection *connection = &connections[fd];
    ssize_t went = send(fd, connection->pending + connection->taken,
                        connection->length - connection->taken, MSG_NOSIGNAL);
    if (went < 0) {
        if (errno != EAGAIN)
            end(fd);
        return;
    }
    connection->taken += (size_t)went;
    if (connection->taken == connection->length) {
        free(connection->pending);
        *connection = (struct connection){0};
        watch(EPOLL_CTL_MOD, fd, EPOLLIN);
    }
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: epoll_tcp PORT\n");
        return 2;
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    connections = must(calloc(limit.rlim_cur, sizeof *connections));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    /* Accepted connections inherit it. */
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)atoi(arguments[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0
        || listen(listener, BACKLOG) < 0) {
        perror("epoll_tcp: bind");
        return 1;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    static struct epoll_event events[MAX_EVENTS];
    for (;;) {
        int ready = epoll_wait(epoll, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int accepted;
                while ((accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
                    watch(EPOLL_CTL_ADD, accepted, EPOLLIN);
            } else if (events[i].events & EPOLLOUT) {
                on_writable(fd);
            } else {
                on_readable(fd);
            }
        }
    }
}
