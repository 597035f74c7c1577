/*
 * The kernel's limit: what an echo and a fan-out over WebSocket cost when nothing is done but what
 * the kernel asks for. One thread, one epoll, one buffer to read into; what one read brought is
 * answered with one write, and what one turn of the loop brought for the room goes to each member in
 * one write. It checks little and supports little (no fragments, no UTF-8, no extensions, no limits on
 * time): it is a yardstick for servers, not one of them.
 *
 * usage: epoll_ws PORT        serves /echo and /room on 127.0.0.1
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 4 << 20, MAX_EVENTS = 1024, MAX_PENDING = 64 << 20, HEADER = 10 };

enum state { HANDSHAKE, ECHO, ROOM };

/* Bytes that grow as they must; an empty one owns nothing. */
struct bytes {
    char *data;
    size_t length, capacity;
};

struct connection {
    int fd;
    enum state state;
    int wants_write, is_closing;
    size_t seat;            /* in `members`, where the state is ROOM */
    struct bytes partial;   /* the beginning of a frame or a request */
    struct bytes pending;   /* what the socket did not take */
};

static char input[BUFFER];
static struct bytes answer; /* to the read that is being handled */
static struct bytes news;   /* for the room, in this turn */
static struct connection **members;
static size_t member_count, member_capacity;
static int epoll;

static void *must(void *pointer) {
    if (!pointer) {
        perror("epoll_ws: memory");
        exit(1);
    }
    return pointer;
}

static char *reserve(struct bytes *bytes, size_t more) {
    if (bytes->length + more > bytes->capacity) {
        bytes->capacity = (bytes->length + more) * 2;
        bytes->data = must(realloc(bytes->data, bytes->capacity));
    }
    return bytes->data + bytes->length;
}

static void append(struct bytes *bytes, const void *data, size_t length) {
    memcpy(reserve(bytes, length), data, length);
    bytes->length += length;
}

static void release(struct bytes *bytes) {
    free(bytes->data);
    *bytes = (struct bytes){0};
}

/* FIPS 180-4, of at most 119 bytes: a key and the GUID are 60. */
static void sha1(const uint8_t *data, size_t length, uint8_t digest[20]) {
    uint8_t block[128] = {0};
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    size_t blocks = (length + 8) / 64 + 1;
    memcpy(block, data, length);
    block[length] = 0x80;
    for (int i = 0; i < 8; i++) {
        block[blocks * 64 - 1 - i] = (uint8_t)((uint64_t)length * 8 >> (8 * i));
    }
    for (size_t b = 0; b < blocks; b++) {
        uint32_t w[80], a = h[0], c2 = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 16; i++) {
            const uint8_t *p = block + b * 64 + i * 4;
            w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) {
            uint32_t x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
            w[i] = x << 1 | x >> 31;
        }
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20) {
                f = (c2 & c) | (~c2 & d), k = 0x5A827999;
            } else if (i < 40) {
                f = c2 ^ c ^ d, k = 0x6ED9EBA1;
            } else if (i < 60) {
                f = (c2 & c) | (c2 & d) | (c & d), k = 0x8F1BBCDC;
            } else {
                f = c2 ^ c ^ d, k = 0xCA62C1D6;
            }
            uint32_t next = (a << 5 | a >> 27) + f + e + k + w[i];
            e = d, d = c, c = c2 << 30 | c2 >> 2, c2 = a, a = next;
        }
        h[0] += a, h[1] += c2, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) {
        digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
    }
}

static void base64(const uint8_t digest[20], char out[29]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0, o = 0; i < 21; i += 3, o += 4) {
        uint32_t three = digest[i] << 16 | digest[i + 1] << 8 | (i + 2 < 20 ? digest[i + 2] : 0);
        out[o] = letters[three >> 18 & 63];
        out[o + 1] = letters[three >> 12 & 63];
        out[o + 2] = letters[three >> 6 & 63];
        out[o + 3] = i + 2 < 20 ? letters[three & 63] : '=';
    }
    out[28] = 0;
}

static void end(struct connection *it) {
    if (it->state == ROOM) {
        members[it->seat] = members[--member_count];
        members[it->seat]->seat = it->seat;
    }
    close(it->fd);
    release(&it->partial);
    release(&it->pending);
    it->fd = -1;
}

static void watch(struct connection *it, int wants_write) {
    if (it->wants_write != wants_write) {
        struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0)};
        event.data.ptr = it;
        epoll_ctl(epoll, EPOLL_CTL_MOD, it->fd, &event);
        it->wants_write = wants_write;
    }
}

/* Writes, or keeps what the socket does not take. */
static int put(struct connection *it, const char *data, size_t length) {
    if (!it->pending.length) {
        ssize_t done = send(it->fd, data, length, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN) {
            return -1;
        }
        if (done > 0) {
            data += done, length -= (size_t)done;
        }
    }
    if (length) {
        if (it->pending.length + length > MAX_PENDING) {
            return -1;
        }
        append(&it->pending, data, length);
        watch(it, 1);
    }
    return 0;
}

static int flush(struct connection *it) {
    ssize_t done = send(it->fd, it->pending.data, it->pending.length, MSG_NOSIGNAL);
    if (done < 0) {
        return errno == EAGAIN ? 0 : -1;
    }
    it->pending.length -= (size_t)done;
    memmove(it->pending.data, it->pending.data + done, it->pending.length);
    if (!it->pending.length) {
        release(&it->pending);
        watch(it, 0);
    }
    return 0;
}

/* Appends an unmasked frame with what `masked` says. */
static void frame(struct bytes *out, uint8_t first, const char *masked, size_t length, uint32_t key) {
    uint8_t *to = (uint8_t *)reserve(out, HEADER + length + 8), *start = to;
    *to++ = first;
    if (length < 126) {
        *to++ = (uint8_t)length;
    } else if (length < 65536) {
        *to++ = 126;
        *to++ = (uint8_t)(length >> 8), *to++ = (uint8_t)length;
    } else {
        *to++ = 127;
        for (int i = 7; i >= 0; i--) {
            *to++ = (uint8_t)((uint64_t)length >> (8 * i));
        }
    }
    uint64_t wide = (uint64_t)key << 32 | key;
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, masked + i, 8);
        word ^= wide;
        memcpy(to + i, &word, 8);
    }
    for (; i < length; i++) {
        to[i] = (uint8_t)masked[i] ^ ((uint8_t *)&key)[i % 4];
    }
    out->length += (size_t)(to - start) + length;
}

/* Handles the whole frames and tells how long they are; negative when the connection is over. */
static ssize_t frames(struct connection *it, const char *data, size_t length) {
    size_t at = 0;
    while (length - at >= 6) {
        const uint8_t *head = (const uint8_t *)data + at;
        size_t header = 6, size = head[1] & 127;
        if (!(head[1] & 128)) {
            return -1;
        }
        if (size == 126) {
            header = 8;
            size = (size_t)head[2] << 8 | head[3];
        } else if (size == 127) {
            header = 14;
            if (length - at < header) {
                break;
            }
            size = 0;
            for (int i = 2; i < 10; i++) {
                size = size << 8 | head[i];
            }
        }
        if (size > BUFFER / 2) {
            return -1;
        }
        if (length - at < header + size) {
            break;
        }
        uint32_t key;
        memcpy(&key, head + header - 4, 4);
        const char *payload = data + at + header;
        at += header + size;
        switch (head[0]) {
        case 0x81:
        case 0x82:
            frame(it->state == ROOM ? &news : &answer, head[0], payload, size, key);
            break;
        case 0x88:
            frame(&answer, 0x88, payload, size, key);
            it->is_closing = 1;
            return (ssize_t)length;
        case 0x89:
            frame(&answer, 0x8A, payload, size, key);
            break;
        case 0x8A:
            break;
        default:
            return -1;
        }
    }
    return (ssize_t)at;
}

static ssize_t handshake(struct connection *it, const char *data, size_t length) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const char *tail = memmem(data, length, "\r\n\r\n", 4);
    if (!tail) {
        return length > 16384 ? -1 : 0;
    }
    char head[16388], text[128];
    size_t size = (size_t)(tail - data) + 4;
    if (size > 16384) {
        return -1;
    }
    memcpy(head, data, size);
    head[size] = 0;
    const char *key = strcasestr(head, "sec-websocket-key: ");
    if (!key) {
        return -1;
    }
    key += strlen("sec-websocket-key: ");
    if (strcspn(key, "\r") != 24) {
        return -1;
    }
    memcpy(text, key, 24);
    memcpy(text + 24, guid, 36);
    uint8_t digest[21] = {0};
    char accepted[29];
    sha1((uint8_t *)text, 60, digest);
    base64(digest, accepted);
    char out[256];
    int written = snprintf(out, sizeof out,
                           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                           "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                           accepted);
    append(&answer, out, (size_t)written);
    it->state = ECHO;
    if (!strncmp(head, "GET /room", 9)) {
        if (member_count == member_capacity) {
            member_capacity = member_capacity * 2 + 64;
            members = must(realloc(members, member_capacity * sizeof *members));
        }
        it->state = ROOM;
        it->seat = member_count;
        members[member_count++] = it;
    }
    return (ssize_t)size;
}

/* One read, and one write with all that it called for. */
static int on_readable(struct connection *it) {
    size_t before = it->partial.length;
    memcpy(input, it->partial.data ? it->partial.data : "", before);
    ssize_t got = recv(it->fd, input + before, BUFFER - before, 0);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN ? 0 : -1;
    }
    size_t length = before + (size_t)got, at = 0;
    answer.length = 0;
    if (it->state == HANDSHAKE) {
        ssize_t done = handshake(it, input, length);
        if (done < 0) {
            return -1;
        }
        at = (size_t)done;
    }
    if (it->state != HANDSHAKE) {
        ssize_t done = frames(it, input + at, length - at);
        if (done < 0) {
            return -1;
        }
        at += (size_t)done;
    }
    if (answer.length && put(it, answer.data, answer.length) < 0) {
        return -1;
    }
    it->partial.length = 0;
    if (at < length) {
        append(&it->partial, input + at, length - at);
    } else {
        release(&it->partial);
    }
    return it->is_closing ? -1 : 0;
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        if (fd < 0) {
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *it = must(calloc(1, sizeof *it));
        it->fd = fd;
        struct epoll_event event = {.events = EPOLLIN};
        event.data.ptr = it;
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

/* The turn is over: each member gets what it brought. */
static void tell_news(void) {
    for (size_t i = member_count; i-- > 0;) {
        struct connection *it = members[i];
        if (put(it, news.data, news.length) < 0) {
            /* The next event on it tells of the end, where nothing else points to it. */
            shutdown(it->fd, SHUT_RDWR);
        }
    }
    news.length = 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: epoll_ws PORT\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("epoll_ws: listen");
        return 1;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN}, events[MAX_EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, MAX_EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct connection *it = events[i].data.ptr;
            if (!it) {
                accept_all(listener);
                continue;
            }
            int is_over = events[i].events & EPOLLOUT && it->pending.length && flush(it) < 0;
            if (!is_over && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                is_over = on_readable(it) < 0;
            }
            if (is_over) {
                /* Each connection has one event in a turn, so nothing points to it any more. */
                end(it);
                free(it);
            }
        }
        if (news.length) {
            tell_news();
        }
    }
}
