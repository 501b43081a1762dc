/* What the kernel takes: WebSocket rooms as a loop of send() in C, with nothing around it. No limits, no checks, no pings;
 * a client that does not read stops everybody. It is no server, but what one could cost at least with a send() for each
 * delivery.
 *     floor PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 70000, FILES = 1 << 20 };

struct room {
    char name[256];
    int *members, count, space;
    struct room *next;
};

struct client {
    struct room *room; /* none until the handshake is done */
    int length;
    unsigned char bytes[]; /* what has come of a request or frame */
};

static struct room *rooms;
static struct client *clients[FILES];
static unsigned char frame[BUFFER + 8];

static uint32_t rotated(uint32_t x, int n) { return x << n | x >> (32 - n); }

/* SHA-1 of at most 119 bytes, which a key and its suffix are. */
static void sha1(const char *text, size_t length, unsigned char out[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    unsigned char block[128] = {0};
    size_t blocks = (length + 9 + 63) / 64;
    memcpy(block, text, length);
    block[length] = 0x80;
    block[blocks * 64 - 2] = (unsigned char)(length * 8 >> 8);
    block[blocks * 64 - 1] = (unsigned char)(length * 8);
    for (size_t b = 0; b < blocks; b++) {
        for (int i = 0; i < 16; i++) {
            const unsigned char *p = block + b * 64 + i * 4;
            w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) w[i] = rotated(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t a = h[0], c = h[1], d = h[2], e = h[3], g = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20) f = (c & d) | (~c & e), k = 0x5A827999;
            else if (i < 40) f = c ^ d ^ e, k = 0x6ED9EBA1;
            else if (i < 60) f = (c & d) | (c & e) | (d & e), k = 0x8F1BBCDC;
            else f = c ^ d ^ e, k = 0xCA62C1D6;
            uint32_t t = rotated(a, 5) + f + g + k + w[i];
            g = e, e = d, d = rotated(c, 30), c = a, a = t;
        }
        h[0] += a, h[1] += c, h[2] += d, h[3] += e, h[4] += g;
    }
    for (int i = 0; i < 20; i++) out[i] = (unsigned char)(h[i / 4] >> (24 - i % 4 * 8));
}

static void base64(const unsigned char *in, int length, char *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < length; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < length ? in[i + 1] << 8 : 0) | (i + 2 < length ? in[i + 2] : 0);
        for (int j = 0; j < 4; j++) *out++ = i + j > length ? '=' : digits[v >> (18 - j * 6) & 63];
    }
    *out = 0;
}

/* Sends all of it; waits where the socket takes no more. */
static void send_all(int fd, const unsigned char *bytes, size_t length) {
    while (length) {
        ssize_t n = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd room_again = {fd, POLLOUT, 0};
            poll(&room_again, 1, -1);
        } else if (n < 0) {
            return; /* it is gone, which epoll tells next */
        } else {
            bytes += n, length -= (size_t)n;
        }
    }
}

static struct room *room_named(const char *name) {
    for (struct room *r = rooms; r; r = r->next)
        if (!strcmp(r->name, name)) return r;
    struct room *r = calloc(1, sizeof *r);
    snprintf(r->name, sizeof r->name, "%s", name);
    r->next = rooms;
    return rooms = r;
}

static void gone(int fd) {
    struct room *r = clients[fd]->room;
    for (int i = 0; r && i < r->count; i++)
        if (r->members[i] == fd) r->members[i] = r->members[--r->count];
    free(clients[fd]);
    clients[fd] = NULL;
    close(fd);
}

/* Answers the request once it is whole; 0 while it is not, -1 for one that is none. */
static int opened(int fd, struct client *c) {
    char path[256], key[64], text[128], accept[32], answer[256];
    unsigned char digest[20];
    c->bytes[c->length] = 0;
    if (!strstr((char *)c->bytes, "\r\n\r\n")) return 0;
    char *at = strcasestr((char *)c->bytes, "\r\nSec-WebSocket-Key:");
    if (!at || sscanf((char *)c->bytes, "GET %255s", path) != 1 || sscanf(at + 20, "%63s", key) != 1) return -1;
    snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1(text, strlen(text), digest);
    base64(digest, 20, accept);
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    send_all(fd, (unsigned char *)answer, (size_t)n);
    struct room *r = c->room = room_named(path);
    if (r->count == r->space) r->members = realloc(r->members, sizeof(int) * (size_t)(r->space = r->space * 2 + 8));
    r->members[r->count++] = fd;
    c->length = 0;
    return 1;
}

/* Sends each whole frame to the room; returns 0 when the client says goodbye. */
static int published(struct client *c) {
    int used = 0;
    for (;;) {
        unsigned char *b = c->bytes + used;
        int left = c->length - used, head = 2, length = left < 2 ? 0 : b[1] & 127;
        if (left >= 4 && length == 126) head = 4, length = b[2] << 8 | b[3];
        if (left < 2 || (b[1] & 127) == 127 || left < head + 4 + length) break;
        if ((b[0] & 15) == 8) return 0;
        int start = length < 126 ? 2 : 4;
        frame[0] = b[0];
        frame[1] = (unsigned char)(length < 126 ? length : 126);
        if (start == 4) frame[2] = (unsigned char)(length >> 8), frame[3] = (unsigned char)length;
        for (int i = 0; i < length; i++) frame[start + i] = b[head + 4 + i] ^ b[head + (i & 3)];
        for (int i = 0; i < c->room->count; i++) send_all(c->room->members[i], frame, (size_t)(start + length));
        used += head + 4 + length;
    }
    memmove(c->bytes, c->bytes + used, (size_t)(c->length -= used));
    return 1;
}

static void read_from(int fd) {
    struct client *c = clients[fd];
    ssize_t n = recv(fd, c->bytes + c->length, (size_t)(BUFFER - 1 - c->length), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        gone(fd);
        return;
    }
    c->length += (int)n;
    if (!c->room && opened(fd, c) < 0) gone(fd);
    else if (c->room && c->length && !published(c)) gone(fd);
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event events[256];
    struct rlimit files;
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0), one = 1;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    address.sin_port = htons((uint16_t)(count > 1 ? atoi(arguments[1]) : 0));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 2048)) {
        perror("floor");
        return 1;
    }
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (clients[fd]) read_from(fd);
                continue;
            }
            fd = accept(listener, NULL, NULL);
            if (fd < 0 || fd >= FILES) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            clients[fd] = calloc(1, sizeof(struct client) + BUFFER);
            wanted.data.fd = fd;
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted);
        }
    }
}
