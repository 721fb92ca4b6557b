// SPDX-License-Identifier: Apache-2.0
// Input: config.json, or a header fixture. The tree must survive being written and read again, the
// scanner must agree with it, and a fixture must give as many tensors as it says.
#include <cstdint>
#include <cstdlib>

#include "engine/checkpoint/fixture.h"
#include "engine/text/json.h"
#include "engine/text/json_scan.h"

using namespace ferrule;

namespace {

void Visit(const JsonValue& top, const JsonValue& value) {
  // Following the pointer of a value from the top leads to it.
  JsonValue at = top;
  const std::string pointer = value.pointer();
  for (size_t begin = 0; begin < pointer.size();) {
    size_t end = pointer.find('/', begin + 1);
    if (end == std::string::npos) end = pointer.size();
    const std::string step = pointer.substr(begin, end - begin);
    JsonValue next;
    for (const JsonValue child : at)
      if ((at.is_object() ? JsonPointerStep(child.name()) : "/" + std::to_string(child.index())) ==
          step)
        next = child;
    at = next;
    begin = end;
  }
  if (!at || at.pointer() != pointer || !(at == value)) abort();
  for (const JsonValue child : value) {
    if (value.is_object() && !(value.Find(child.name()) == child)) abort();
    Visit(top, child);
  }
}

bool Small(const JsonValue& fixture) {
  for (const JsonValue entry : fixture.Find("tensors"))
    if (entry.Find("E").AsInt().value_or(0) > 1000) return false;
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Diagnostics diagnostics;
  const auto top = ParseJson("c", text, {}, &diagnostics);
  if (top.has_value() == diagnostics.has_errors()) abort();
  ToHuman(diagnostics, false);
  Arena arena;
  JsonScan scan(text, &arena);
  const bool scanned = scan.Skip(64) && scan.End();
  if (top && !scanned) abort();
  if (!top) {
    const std::string& message = diagnostics.findings()[0].message;
    if (scanned && message.find("number is too large") == std::string::npos) abort();
    return 0;
  }
  const std::string written = top->ToString();
  const auto again = ParseJson("c", written, {SIZE_MAX, 64}, &diagnostics);
  if (!again || !(*again == *top) || again->ToString() != written) abort();
  if (size < 4096) Visit(*top, *top);
  TensorTable table;
  if (Small(*top)) ExpandFixture(*top, &table, &diagnostics);
  ToHuman(diagnostics, false);
  return 0;
}
