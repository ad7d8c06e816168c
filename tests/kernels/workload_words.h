/* SPDX-License-Identifier: Apache-2.0 */
/* One line of a list as words: WORD WORD KEY=VALUE... */
#ifndef WORKLOAD_WORDS_H
#define WORKLOAD_WORDS_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#define MAX_WORDS 16

struct words {
    const char *path;
    int line;
    char *text; /* what word[] points into */
    char *word[MAX_WORDS];
    int count, next;
    uint64_t used; /* words that somebody asked for */
    jmp_buf malformed; /* where refuse() goes */
};

/* Prints "PATH:LINE: reason" and gives the list up. */
_Noreturn void refuse(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
void words_split(struct words *words, const char *line);
/* The next word; *what* it is that the list must say there. */
char *take(struct words *words, const char *what);
/* The same, with nothing but letters, digits, _ and - in it. */
char *take_name(struct words *words, const char *what);
/* The value of the word KEY=VALUE, wherever it stands; NULL: it is not there. */
const char *option(struct words *words, const char *key);
const char *needed(struct words *words, const char *key);
uint64_t number(struct words *words, const char *what, const char *text, uint64_t limit);
uint64_t needed_number(struct words *words, const char *key, uint64_t limit);
uint64_t optional_number(struct words *words, const char *key, uint64_t otherwise, uint64_t limit);
/* Passes over the KEY=VALUE words that come next. */
void skip_options(struct words *words);
/* Refuses a word that nobody asked for. */
void words_all_used(struct words *words);

#endif
