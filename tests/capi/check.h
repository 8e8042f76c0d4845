/* What the tests of the C interface share: checks that count, and the bundled model with its
 * scenes. */
#ifndef BLIP_TESTS_CAPI_CHECK_H
#define BLIP_TESTS_CAPI_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blip/c.h"

extern int failures;
extern blip_status status; /* of the last call that OK or FAILS checked */

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                               \
    }                                                                           \
  } while (0)

void check_text(const char* got, const char* expected, const char* file, int line);
#define CHECK_TEXT(got, expected) check_text((got), (expected), __FILE__, __LINE__)

/* The call succeeds; it leaves no error. */
void check_ok(blip_status got, blip_error* error, const char* file, int line);
#define OK(call) \
  (error = (blip_error*)&failures, status = (call), check_ok(status, error, __FILE__, __LINE__))

/* The call fails with this status and a message that contains a text. */
void check_fails(blip_status got, blip_status expected, blip_error* error, const char* contains,
                 const char* file, int line);
#define FAILS(call, expected, contains) \
  (error = NULL, status = (call),       \
   check_fails(status, (expected), error, (contains), __FILE__, __LINE__))

/* The bundled model, a session and an encoded scene; ends the program where that fails. */
typedef struct fixture {
  blip_engine* engine;
  blip_session* session;
  blip_image* image;
  blip_encoded* encoded;
} fixture;
const char* source_path(const char* below);
fixture set_up(const char* scene);
void tear_down(fixture* f);
#define PICTURES(f) ((const blip_encoded* const*)&(f).encoded)
#define IMAGES(f) ((const blip_image* const*)&(f).image)

#endif
