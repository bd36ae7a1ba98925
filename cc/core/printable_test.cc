#include "core/printable.h"

#include "core/testing/testing.h"

namespace autodist {
namespace {

TEST(WhatATerminalObeysIsEscaped) {
  EXPECT_EQ(Printable("plain \xc3\xbc \xe6\xa8\xa1"), "plain \xc3\xbc \xe6\xa8\xa1");
  EXPECT_EQ(Printable("\x1b[2J\n\t\x7f"), "\\x1b[2J\\x0a\\x09\\x7f");
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(Printable("\xc2\x9b"
                      "2J\xc2\xa0"),
            "\\xc2\\x9b2J\xc2\xa0");
  EXPECT_EQ(Printable("cut \xc2"), "cut \xc2");
}

}  // namespace
}  // namespace autodist
