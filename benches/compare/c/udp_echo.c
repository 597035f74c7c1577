/*
 * The kernel's limit for an echo over UDP: what a page of C does that takes datagrams in batches and
 * sends them back in batches, and what one does that lets the kernel hand over and take datagrams of
 * one peer in one piece (GRO and GSO). One thread, one socket, nothing is checked, limited or counted:
 * it is a yardstick for servers, not one of them.
 *
 * usage: udp_echo PORT [gso]        echoes on 127.0.0.1
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 32, SLOT = 65536, CONTROL = CMSG_SPACE(sizeof(int)), KERNEL_BUFFER = 4 << 20 };

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static char slots[BATCH][SLOT];
static char controls[BATCH][CONTROL] __attribute__((aligned(8)));
static struct sockaddr_in peers[BATCH];
static struct iovec pieces[BATCH];
static struct mmsghdr batch[BATCH];

static int must(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

/* The datagrams' size where the kernel handed over several in one slot, else 0. */
static int segment_of(struct msghdr *message) {
    for (struct cmsghdr *it = CMSG_FIRSTHDR(message); it; it = CMSG_NXTHDR(message, it)) {
        if (it->cmsg_level == IPPROTO_UDP && it->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(it), sizeof size);
            return size;
        }
    }
    return 0;
}

static void set_segment(struct msghdr *message, char *control, int size) {
    uint16_t segment = (uint16_t)size;
    message->msg_control = control;
    message->msg_controllen = CMSG_SPACE(sizeof segment);
    struct cmsghdr *it = CMSG_FIRSTHDR(message);
    it->cmsg_level = IPPROTO_UDP;
    it->cmsg_type = UDP_SEGMENT;
    it->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(it), &segment, sizeof segment);
}

static void prepare(int offloads) {
    for (int i = 0; i < BATCH; i++) {
        struct msghdr *message = &batch[i].msg_hdr;
        pieces[i] = (struct iovec){slots[i], SLOT};
        *message = (struct msghdr){
            .msg_name = &peers[i],
            .msg_namelen = sizeof peers[i],
            .msg_iov = &pieces[i],
            .msg_iovlen = 1,
            .msg_control = offloads ? controls[i] : NULL,
            .msg_controllen = offloads ? CONTROL : 0,
        };
    }
}

static void echo(int fd, int offloads) {
    for (;;) {
        prepare(offloads);
        int count = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);
        if (count < 0) {
            /* An ICMP error for something that was sent earlier. */
            continue;
        }
        for (int i = 0; i < count; i++) {
            struct msghdr *message = &batch[i].msg_hdr;
            int segment = offloads ? segment_of(message) : 0;
            pieces[i].iov_len = batch[i].msg_len;
            message->msg_control = NULL;
            message->msg_controllen = 0;
            if (segment > 0 && (unsigned)segment < batch[i].msg_len) {
                set_segment(message, controls[i], segment);
            }
        }
        for (int sent = 0; sent < count;) {
            int more = sendmmsg(fd, batch + sent, (unsigned)(count - sent), 0);
            sent += more > 0 ? more : 1;
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: udp_echo PORT [gso]\n");
        return 2;
    }
    int offloads = argc > 2 && strcmp(argv[2], "gso") == 0;
    int fd = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
    int size = KERNEL_BUFFER, one = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (offloads) {
        must(setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one), "UDP_GRO");
    }
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)atoi(argv[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    must(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
    echo(fd, offloads);
}
