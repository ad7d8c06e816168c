/* SPDX-License-Identifier: Apache-2.0 */
/* One line of a list as words. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workload.h"
#include "workload_words.h"

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

void refuse(struct words *words, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "%s:%d: ", words->path, words->line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    longjmp(words->malformed, 1);
}

void words_split(struct words *words, const char *line)
{
    char *rest = NULL;

    free(words->text);
    words->text = must_copy(line);
    words->count = 0;
    words->next = 1;
    words->used = 1;
    for (char *word = strtok_r(words->text, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
        if (words->count == MAX_WORDS)
            refuse(words, "more than %d words", MAX_WORDS);
        words->word[words->count++] = word;
    }
}

char *take(struct words *words, const char *what)
{
    if (words->next == words->count)
        refuse(words, "%s: %s is missing", words->word[0], what);
    words->used |= UINT64_C(1) << words->next;
    return words->word[words->next++];
}

char *take_name(struct words *words, const char *what)
{
    char *name = take(words, what);

    if (strlen(name) >= NAME_BYTES)
        refuse(words, "%s is longer than %d characters", name, NAME_BYTES - 1);
    if (name[strspn(name, NAME_CHARACTERS)])
        refuse(words, "%s may hold letters, digits, _ and - only, not as in %s", what, name);
    return name;
}

const char *option(struct words *words, const char *key)
{
    size_t length = strlen(key);

    for (int i = 1; i < words->count; i++)
        if (!strncmp(words->word[i], key, length) && words->word[i][length] == '=') {
            words->used |= UINT64_C(1) << i;
            return words->word[i] + length + 1;
        }
    return NULL;
}

const char *needed(struct words *words, const char *key)
{
    const char *value = option(words, key);

    if (!value)
        refuse(words, "%s: %s= is missing", words->word[0], key);
    return value;
}

uint64_t number(struct words *words, const char *what, const char *text, uint64_t limit)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value > limit)
        refuse(words, "%s must be a whole number up to %llu, not %s", what, (unsigned long long)limit, text);
    return value;
}

uint64_t needed_number(struct words *words, const char *key, uint64_t limit)
{
    return number(words, key, needed(words, key), limit);
}

uint64_t optional_number(struct words *words, const char *key, uint64_t otherwise, uint64_t limit)
{
    const char *value = option(words, key);

    return value ? number(words, key, value, limit) : otherwise;
}

void skip_options(struct words *words)
{
    while (words->next < words->count && strchr(words->word[words->next], '='))
        words->next++;
}

void words_all_used(struct words *words)
{
    for (int i = 1; i < words->count; i++)
        if (!(words->used >> i & 1))
            refuse(words, "%s: what is %s?", words->word[0], words->word[i]);
}
