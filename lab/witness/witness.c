/* The witness: appends numbered, checksummed records to a disk and acknowledges each on stdout only when it is durable.
 *
 *   witness run DISK       verify what is there, say "highest N", then append for ever
 *   witness verify DISK    say "highest N" and, per damaged record below a valid one, "damaged K"; exit 1 if any is
 *
 * Record N lies at (N - 1) * 4096. It never wraps. The disk is opened with O_DIRECT and every record is fsynced.
 * A record names its run (one start of the guest) and the run's first record: if that one is another run's by now, a
 * write of an earlier run, which should have been fenced, came over it. $PAUSE_MS (20), from the kernel's command line,
 * is how long it rests between two records.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECORD_BYTES 4096
#define CHUNK_RECORDS 64
#define QUIET_RECORDS 1024 /* so many empty records in a row end the search */
#define PAUSE_MS 20

struct record {
    char magic[8];
    uint64_t guest;
    uint64_t number;
    uint64_t time_ns;
    uint64_t run;
    uint64_t run_first;
    uint8_t filling[RECORD_BYTES - 52];
    uint32_t crc;
} __attribute__((packed));
_Static_assert(sizeof(struct record) == RECORD_BYTES, "a record is one block");

static const char MAGIC[8] = "SHOALWIT";

struct found {
    uint64_t highest; /* records 1..highest are all valid */
    uint64_t last;    /* the last valid one; more than highest means that something between is damaged */
    uint64_t guest;
};

static uint32_t crc_table[256]; /* a byte at a time: a start reads all records, on an emulated processor */

static void make_crc_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        crc_table[byte] = byte;
        for (int bit = 0; bit < 8; bit++)
            crc_table[byte] = (crc_table[byte] >> 1) ^ (0xedb88320u & -(crc_table[byte] & 1));
    }
}

static uint32_t crc32_of(const uint8_t *data, size_t size)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++)
        crc = (crc >> 8) ^ crc_table[(crc ^ data[i]) & 0xff];
    return ~crc;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}

static int is_valid(const struct record *record, uint64_t number)
{
    return memcmp(record->magic, MAGIC, sizeof MAGIC) == 0 && record->number == number &&
           record->crc == crc32_of((const uint8_t *)record, RECORD_BYTES - sizeof record->crc);
}

/* Reads one chunk whole, or less at the end of the disk; -1 on an error. */
static ssize_t read_chunk(int disk, struct record *chunk, uint64_t first)
{
    size_t have = 0, want = CHUNK_RECORDS * RECORD_BYTES;
    while (have < want) {
        ssize_t got = pread(disk, (char *)chunk + have, want - have, (off_t)(first - 1) * RECORD_BYTES + have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        have += got;
    }
    return have / RECORD_BYTES;
}

static void take(struct found *found, const struct record *record, uint64_t number)
{
    if (!is_valid(record, number))
        return;
    if (found->guest != 0 && record->guest != found->guest)
        return; /* a record of another guest is no proof */
    found->guest = record->guest;
    for (uint64_t missing = found->last + 1; missing < number; missing++)
        printf("damaged %llu\n", (unsigned long long)missing);
    if (found->highest == number - 1)
        found->highest = number;
    found->last = number;
}

static int search(int disk, struct record *chunk, struct found *found)
{
    memset(found, 0, sizeof *found);
    for (uint64_t first = 1; first <= found->last + QUIET_RECORDS; first += CHUNK_RECORDS) {
        ssize_t count = read_chunk(disk, chunk, first);
        if (count < 0)
            return -1;
        for (ssize_t i = 0; i < count; i++)
            take(found, &chunk[i], first + i);
        if (count < CHUNK_RECORDS)
            break;
    }
    return 0;
}

static int append(int disk, struct record *record, uint64_t number)
{
    record->number = number;
    record->time_ns = now_ns();
    memset(record->filling, (int)(number & 0xff), sizeof record->filling);
    record->crc = crc32_of((const uint8_t *)record, RECORD_BYTES - sizeof record->crc);
    ssize_t wrote = pwrite(disk, record, RECORD_BYTES, (off_t)(number - 1) * RECORD_BYTES);
    if (wrote >= 0 && wrote != RECORD_BYTES)
        errno = ENOSPC;
    return wrote == RECORD_BYTES ? fsync(disk) : -1;
}

static void write_for_ever(int disk, struct record *record, struct found found)
{
    const char *wish = getenv("PAUSE_MS");
    long pause_ms = wish ? strtol(wish, NULL, 10) : PAUSE_MS;
    const struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000}, long_pause = {1, 0};
    memcpy(record->magic, MAGIC, sizeof MAGIC);
    record->run = now_ns();
    record->run_first = found.last + 1;
    record->guest = found.guest ? found.guest : record->run;
    off_t size = lseek(disk, 0, SEEK_END);
    for (uint64_t number = found.last + 1; (off_t)(number * RECORD_BYTES) <= size;) {
        if (append(disk, record, number) != 0) {
            printf("failed %llu: %s\n", (unsigned long long)number, strerror(errno));
            nanosleep(&long_pause, NULL);
            continue; /* the same record again: a number is acknowledged once, or never */
        }
        printf("ack %llu\n", (unsigned long long)number++);
        nanosleep(&pause, NULL);
    }
    printf("full\n");
    for (;;)
        nanosleep(&long_pause, NULL);
}

int main(int argc, char **argv)
{
    if (argc != 3 || (strcmp(argv[1], "run") != 0 && strcmp(argv[1], "verify") != 0)) {
        fprintf(stderr, "usage: witness run|verify DISK\n");
        return 2;
    }
    int writing = strcmp(argv[1], "run") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_crc_table();
    if (writing)
        printf("witness start\n");
    int disk = open(argv[2], writing ? O_RDWR | O_DIRECT : O_RDONLY);
    struct record *chunk = aligned_alloc(RECORD_BYTES, CHUNK_RECORDS * RECORD_BYTES);
    struct found found;
    if (disk < 0 || chunk == NULL || search(disk, chunk, &found) != 0) {
        printf("failed 0: %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    printf("highest %llu\n", (unsigned long long)found.highest);
    if (found.last != found.highest)
        printf("damage: records up to %llu are there\n", (unsigned long long)found.last);
    if (writing)
        write_for_ever(disk, chunk, found);
    return found.last == found.highest ? 0 : 1;
}
