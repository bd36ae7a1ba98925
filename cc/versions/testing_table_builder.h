// TensorFlow's own writer of tables, for tests: its headers have moved.

#ifndef AUTODIST_VERSIONS_TESTING_TABLE_BUILDER_H_
#define AUTODIST_VERSIONS_TESTING_TABLE_BUILDER_H_

#if __has_include("xla/tsl/lib/io/table_builder.h")
#include "xla/tsl/lib/io/table_builder.h"
#include "xla/tsl/lib/io/table_options.h"
#else
#include "tsl/lib/io/table_builder.h"
#include "tsl/lib/io/table_options.h"
#endif

#endif  // AUTODIST_VERSIONS_TESTING_TABLE_BUILDER_H_
