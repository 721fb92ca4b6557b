// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/safetensors.h"

#include <unistd.h>

#include "tests/catch.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;

namespace {

// What OpenTensorFile says about a file of these bytes; empty when it is accepted.
std::string Problem(const std::string& bytes) {
  const TempDir directory;
  directory.Write("f", bytes);
  Diagnostics diagnostics;
  const auto file = OpenTensorFile(directory / "f", Code::kMissingFile, &diagnostics);
  CHECK(file.has_value() == !diagnostics.has_errors());
  CHECK(diagnostics.count(Level::kError) <= 1);
  return Lines(diagnostics, directory.path());
}

std::string Header(std::string_view json, size_t data = 0) {
  return Problem(Safetensors(json, data));
}

// One tensor `t` of 4 bytes, with these pieces in its entry.
std::string Entry(std::string_view dtype, std::string_view shape,
                  std::string_view offsets = "[0,4]", size_t data = 4) {
  return Header("{\"t\":{\"dtype\":" + std::string(dtype) + ",\"shape\":" + std::string(shape) +
                    ",\"data_offsets\":" + std::string(offsets) + "}}",
                data);
}

std::string Length(uint64_t length, std::string_view rest) {
  std::string file = Safetensors("", 0);
  for (int i = 0; i < 8; ++i) file[static_cast<size_t>(i)] = static_cast<char>(length >> 8 * i);
  return file.append(rest);
}

// Two tensors, a of 2 bytes and b of 4, at these offsets.
std::string Two(std::string_view a, std::string_view b, size_t data = 6) {
  return Header("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" + std::string(a) +
                    "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + std::string(b) +
                    "}}",
                data);
}

}  // namespace

TEST_CASE("a header gives names, dtypes, shapes and offsets in the file") {
  const TempDir directory;
  const std::string header =
      R"({"__metadata__":{"format":"pt"},)"
      R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
      R"( "a\u0062" : { "data_offsets":[0,4] , "shape":[ ], "dtype":"F32"}}   )";
  directory.Write("f", Safetensors(header, 16));
  Diagnostics diagnostics;
  const auto file = OpenTensorFile(directory / "f", Code::kMissingFile, &diagnostics);
  REQUIRE(file);
  const uint64_t data = 8 + header.size();
  const Tensor* const b = file->Find("b");
  REQUIRE(b);
  CHECK(b->begin == data + 4);
  CHECK(b->end == data + 16);
  CHECK(b->dtype == DType::kBF16);
  CHECK(ShapeText(file->table.shape(*b)) == "[2, 3]");
  CHECK(file->table.Elements(*b) == 6);
  CHECK(file->table.Bytes(*b) == 12);
  const Tensor* const scalar = file->Find("ab");
  REQUIRE(scalar);
  CHECK(scalar->rank == 0);  // case 87: no dims
  CHECK(file->table.Elements(*scalar) == 1);
  CHECK_FALSE(file->Find("a"));
}

TEST_CASE("dtypes have the names and sizes of the reference") {
  const std::vector<std::pair<std::string, uint32_t>> known = {
      {"BOOL", 8},    {"U8", 8},   {"I8", 8},      {"F8_E4M3", 8}, {"F8_E5M2", 8},
      {"F8_E8M0", 8}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16},
      {"U16", 16},    {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},
      {"F32", 32},    {"F64", 64}, {"I64", 64},    {"U64", 64},    {"C64", 64}};
  for (const auto& [name, bits] : known) {
    const auto dtype = DTypeFromName(name);
    REQUIRE(dtype);
    CHECK(DTypeName(*dtype) == name);
    CHECK(DTypeBits(*dtype) == bits);
    CHECK(Entry("\"" + name + "\"", "[8]", "[0," + std::to_string(bits) + "]", bits).empty());
  }
  CHECK_FALSE(DTypeFromName("bf16"));
}

TEST_CASE("case 78: a file of fewer than 8 bytes") {
  CHECK(Problem("") == "D/f: error[FR708]: the file is empty | help: download it again");
  CHECK(Problem("1234567") ==
        "D/f: error[FR708]: the file has 7 bytes, too few for a header | help: download it again");
}

TEST_CASE("case 79: a length that is zero, too large or would wrap") {
  CHECK(Problem(Length(0, "{}")) == "D/f: error[FR708]: the header has no bytes");
  CHECK(Problem(Length(3, "{}")) ==
        "D/f: error[FR708]: the header would have 3 bytes, but only 2 follow its length");
  CHECK(Problem(Length(100'000'001, "{}")) ==
        "D/f: error[FR708]: the header would have 100000001 bytes; at most 100000000 are read");
  CHECK(Problem(Length(uint64_t{1} << 63, "{}")) ==
        "D/f: error[FR708]: the header would have 9223372036854775808 bytes; at most 100000000 are "
        "read");
  CHECK(Problem(Length(UINT64_MAX, "{}")) ==
        "D/f: error[FR708]: the header would have 18446744073709551615 bytes; at most 100000000 "
        "are read");
  CHECK(Problem("version https://git-lfs.github.com/spec/v1\noid sha256:0\n") ==
        "D/f: error[FR708]: the header would have 2336927755350992246 bytes; at most 100000000 are "
        "read | help: this is a pointer of git-lfs; fetch the file with `git lfs pull`");
}

TEST_CASE("case 80: a header that does not start with a brace") {
  CHECK(Header(" {}") == "D/f: error[FR708]: the header does not start with `{`");
  CHECK(Header("[]") == "D/f: error[FR708]: the header does not start with `{`");
}

TEST_CASE("case 81: truncated JSON") {
  CHECK(Header("{") ==
        "D/f: error[FR708]: the header is not JSON: it ends within a list or object (byte 9)");
  CHECK(Header("{\"a\"") == "D/f: error[FR708]: the header is not JSON: expected `:` (byte 12)");
  CHECK(Header(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,)") ==
        "D/f: error[FR708]: the header is not JSON: it ends where a whole number should be (byte "
        "58)");
  CHECK(Header("{\"a\xff\":{}}") ==
        "D/f: error[FR708]: the header is not JSON: a text that is not UTF-8 (byte 10)");
}

TEST_CASE("case 82: only spaces may follow") {
  CHECK(Header("{}     ").empty());
  CHECK(Header("{}\n") ==
        "D/f: error[FR708]: the header is not JSON: text after the end of the value (byte 10)");
  CHECK(Header("{}{}") ==
        "D/f: error[FR708]: the header is not JSON: text after the end of the value (byte 10)");
  CHECK(Header(std::string_view("{}\0", 3)) ==
        "D/f: error[FR708]: the header is not JSON: text after the end of the value (byte 10)");
}

TEST_CASE("case 83: an unknown dtype") {
  CHECK(Entry("\"F7\"", "[1]") ==
        "D/f#/t: error[FR710]: `t` has dtype `F7`, which safetensors does not have");
  CHECK(Entry("\"\"", "[0]", "[0,0]", 0) ==
        "D/f#/t: error[FR710]: `t` has dtype ``, which safetensors does not have");
  CHECK(Entry("\"f32\"", "[1]") ==
        "D/f#/t: error[FR710]: `t` has dtype `f32`, which safetensors does not have");
  CHECK(Entry("\"\\u001b[2J\"", "[1]") ==
        "D/f#/t: error[FR710]: `t` has dtype `\\x1b[2J`, which safetensors does not have");
  CHECK(Entry("32", "[1]") ==
        "D/f#/t: error[FR710]: the dtype of `t`: expected text, found a number");
}

TEST_CASE("case 84: a product of dims that would wrap") {
  CHECK(Entry("\"F32\"", "[4294967296,4294967296]", "[0,0]", 0) ==
        "D/f#/t: error[FR711]: `t`: shape [4294967296, 4294967296] has more than 2^48 elements");
  CHECK(Entry("\"F32\"", "[1099511627776,1099511627776,0]", "[0,0]", 0) ==
        "D/f#/t: error[FR711]: `t`: shape [1099511627776, 1099511627776, 0] has more than 2^48 "
        "elements");
  CHECK(Entry("\"U8\"", "[0,281474976710656]", "[0,0]", 0).empty());
  CHECK(Entry("\"U8\"", "[281474976710657]", "[0,0]", 0) ==
        "D/f#/t: error[FR711]: `t` has a dimension of 281474976710657; at most 2^48 elements are "
        "read");
}

TEST_CASE("case 85: dims that are negative, fractional or too large") {
  CHECK(Entry("\"F32\"", "[-1]") ==
        "D/f#/t: error[FR711]: the shape of `t`: expected a whole number from 0 to 2^64-1, found "
        "`-1`");
  CHECK(Entry("\"F32\"", "[1.0]") ==
        "D/f#/t: error[FR711]: the shape of `t`: expected a whole number from 0 to 2^64-1, found "
        "`1.0`");
  CHECK(Entry("\"F32\"", "[1e0]") ==
        "D/f#/t: error[FR711]: the shape of `t`: expected a whole number from 0 to 2^64-1, found "
        "`1e0`");
  CHECK(Entry("\"F32\"", "[9223372036854775808]") ==
        "D/f#/t: error[FR711]: `t` has a dimension of 9223372036854775808; at most 2^48 elements "
        "are read");
  CHECK(Entry("\"F32\"", "[18446744073709551616]") ==
        "D/f#/t: error[FR711]: the shape of `t`: expected a whole number from 0 to 2^64-1, found "
        "`18446744073709551616`");
  CHECK(Entry("\"F32\"", "[\"1\"]") ==
        "D/f#/t: error[FR711]: the shape of `t`: expected a whole number, found text");
  CHECK(Entry("\"F32\"", "1") ==
        "D/f#/t: error[FR711]: the shape of `t`: expected a list, found a number");
  CHECK(Entry("\"F32\"", "[01]") ==
        "D/f: error[FR708]: the header is not JSON: a number that is not JSON's (byte 39)");
}

TEST_CASE("case 86: at most 8 dimensions") {
  CHECK(Entry("\"F32\"", "[1,1,1,1,1,1,1,1]").empty());
  CHECK(Entry("\"F32\"", "[1,1,1,1,1,1,1,1,1]") ==
        "D/f#/t: error[FR711]: `t` has more than 8 dimensions");
}

TEST_CASE("cases 87 and 88: scalars and empty tensors") {
  CHECK(Entry("\"F32\"", "[]").empty());
  CHECK(Entry("\"F32\"", "[3,0]", "[0,0]", 0).empty());
  CHECK(Entry("\"F32\"", "[3,0]", "[0,4]") ==
        "D/f#/t: error[FR709]: `t` has 4 bytes of data, but F32 of shape [3, 0] needs 0");
}

TEST_CASE("case 89: as many bytes as dtype and shape need") {
  CHECK(Entry("\"F32\"", "[2]") ==
        "D/f#/t: error[FR709]: `t` has 4 bytes of data, but F32 of shape [2] needs 8");
  CHECK(Entry("\"BF16\"", "[1]") ==
        "D/f#/t: error[FR709]: `t` has 4 bytes of data, but BF16 of shape [1] needs 2");
}

TEST_CASE("case 90: an end before the begin") {
  CHECK(Entry("\"F32\"", "[1]", "[4,0]") ==
        "D/f#/t: error[FR709]: the data of `t` end at 0, before they begin at 4");
}

TEST_CASE("cases 91 and 101: data past the end of the file") {
  CHECK(Entry("\"F32\"", "[1]", "[0,4]", 3) ==
        "D/f: error[FR709]: the file is cut short: it has 65 bytes, its tensors need 1 more | "
        "help: download it again");
  CHECK(Entry("\"F32\"", "[1]", "[18446744073709551612,18446744073709551615]") ==
        "D/f#/t: error[FR709]: `t` has 3 bytes of data, but F32 of shape [1] needs 4");
}

TEST_CASE("case 92: overlap") {
  CHECK(Two("[0,2]", "[1,5]", 5) ==
        "D/f#/b: error[FR709]: the data of `b` overlap those of `a`: they begin at 1, before 2");
  CHECK(Two("[2,4]", "[0,4]", 4) ==
        "D/f#/a: error[FR709]: the data of `a` overlap those of `b`: they begin at 2, before 4");
}

TEST_CASE("case 93: holes") {
  CHECK(Two("[0,2]", "[3,7]", 7) ==
        "D/f#/b: error[FR709]: 1 byte between `a` and `b` that no tensor claims");
  CHECK(Two("[1,3]", "[3,7]", 7) ==
        "D/f#/a: error[FR709]: 1 byte before `a` that no tensor claims");
}

TEST_CASE("case 94: bytes after the last tensor") {
  CHECK(Two("[4,6]", "[0,4]").empty());
  CHECK(Two("[0,2]", "[2,6]", 7) ==
        "D/f: error[FR709]: 1 byte after the last tensor that no tensor claims");
  CHECK(Header("{}", 1) == "D/f: error[FR709]: 1 byte after the last tensor that no tensor claims");
}

TEST_CASE("case 95: other than two offsets") {
  CHECK(Entry("\"F32\"", "[1]", "[0]") ==
        "D/f#/t: error[FR709]: `t` has 1 data offsets instead of 2");
  CHECK(Entry("\"F32\"", "[1]", "[0,4,4]") ==
        "D/f#/t: error[FR709]: `t` has 3 data offsets instead of 2");
  CHECK(Entry("\"F32\"", "[1]", "4") ==
        "D/f#/t: error[FR709]: the data offsets of `t`: expected a list, found a number");
  CHECK(Entry("\"F32\"", "[1]", "[0,-4]") ==
        "D/f#/t: error[FR709]: the data offsets of `t`: expected a whole number from 0 to 2^64-1, "
        "found `-4`");
}

TEST_CASE("case 96: sub-byte dtypes fill whole bytes") {
  CHECK(Entry("\"F4\"", "[4,2]").empty());
  CHECK(Entry("\"F4\"", "[7]") ==
        "D/f#/t: error[FR711]: `t`: F4 of shape [7] has 28 bits, no whole number of bytes");
  CHECK(Entry("\"F6_E2M3\"", "[2,3]") ==
        "D/f#/t: error[FR711]: `t`: F6_E2M3 of shape [2, 3] has 36 bits, no whole number of bytes");
}

TEST_CASE("case 97: a tensor stands twice") {
  const std::string a = R"({"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  const std::string b = R"({"dtype":"U8","shape":[2],"data_offsets":[2,4]})";
  CHECK(Header("{\"a\":" + a + ",\"a\":" + b + "}", 4) ==
        "D/f#/a: error[FR702]: `a` stands twice in the header");
  CHECK(Header("{\"a\":" + a + ",\"\\u0061\":" + b + "}", 4) ==
        "D/f#/a: error[FR702]: `a` stands twice in the header");
  // Where the data are the same, or overlap, or leave a hole, too.
  CHECK(Header("{\"a\":" + a + ",\"a\":" + a + "}", 2) ==
        "D/f#/a: error[FR702]: `a` stands twice in the header");
  const std::string c = R"({"dtype":"U8","shape":[3],"data_offsets":[1,4]})";
  CHECK(Header("{\"a\":" + a + ",\"b\":" + c + ",\"b\":" + c + "}", 4) ==
        "D/f#/b: error[FR702]: `b` stands twice in the header");
  const std::string d = R"({"dtype":"U8","shape":[1],"data_offsets":[3,4]})";
  CHECK(Header("{\"a\":" + a + ",\"a\":" + d + "}", 4) ==
        "D/f#/a: error[FR702]: `a` stands twice in the header");
}

TEST_CASE("case 98: metadata is an object of texts") {
  CHECK(Header(R"({"__metadata__":{}})").empty());
  CHECK(Header(R"({"__metadata__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4) ==
        "D/f#/__metadata__: error[FR708]: `__metadata__` must be an object of texts: expected "
        "text, found a list");
  CHECK(Header(R"({"__metadata__":{"a":1}})") ==
        "D/f#/__metadata__: error[FR708]: `__metadata__` must be an object of texts: expected "
        "text, found a number");
  CHECK(Header(R"({"__metadata__":null})") ==
        "D/f#/__metadata__: error[FR708]: `__metadata__` must be an object of texts: expected an "
        "object, found null");
  CHECK(Header(R"({"__metadata__":{"a":"1","a":"2"}})") ==
        "D/f#/__metadata__: error[FR702]: `a` stands twice in `__metadata__` (byte 24)");
  CHECK(Header(R"({"__metadata__":{},"__metadata__":{}})") ==
        "D/f: error[FR702]: `__metadata__` stands twice in the header");
}

TEST_CASE("case 99: a million empty tensors") {
  std::string header = "{";
  for (int i = 0; i < 1'000'000; ++i)
    header += (i ? ",\"t" : "\"t") + std::to_string(i) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  CHECK(Header(header + "}").empty());
}

TEST_CASE("case 100: names") {
  const auto named = [](const std::string& name) {
    return Header("{\"" + name + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})");
  };
  const auto segments = [](size_t n) {
    std::string name = "a";
    for (size_t i = 1; i < n; ++i) name += ".a";
    return name;
  };
  CHECK(named("") == "D/f: error[FR713]: a tensor has an empty name");
  CHECK(named(std::string(1024, 'x')).empty());
  CHECK(
      named(std::string(65536, 'x')) ==
      "D/f: error[FR713]: the name `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` "
      "has 65536 bytes; at most 1024 are read");
  CHECK(named("a\\u0000b") == "D/f: error[FR713]: the name `a\\x00b` holds a NUL");
  CHECK(named(segments(32)).empty());
  CHECK(
      named(segments(33)) ==
      "D/f: error[FR713]: the name `a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.…` "
      "has 33 segments; at most 32 are read");
  CHECK(named("..").empty());
  CHECK(named("./././././././././././././././././").empty());  // 18 segments
  CHECK(named("a\\n\\u001b[31m").empty());
  CHECK(named("a\n") ==
        "D/f: error[FR708]: the header is not JSON: a control character in a text (byte 11)");
  // What is odd in a name reaches the terminal escaped.
  CHECK(Header(R"({"a\n\u001b[31m":{"dtype":"U8","shape":[1],"data_offsets":[0,0]}})") ==
        "D/f#/a\\x0a\\x1b[31m: error[FR709]: `a\\x0a\\x1b[31m` has 0 bytes of data, but U8 of "
        "shape [1] needs 1");
}

TEST_CASE("an entry has exactly its three keys") {
  CHECK(Header(R"({"t":{"shape":[1],"data_offsets":[0,4]}})", 4) ==
        "D/f#/t: error[FR708]: the entry of `t` has no `dtype`");
  CHECK(Header(R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", 4) ==
        "D/f#/t: error[FR708]: the entry of `t` has no `shape`");
  CHECK(Header(R"({"t":{"dtype":"F32","shape":[1]}})", 4) ==
        "D/f#/t: error[FR708]: the entry of `t` has no `data_offsets`");
  CHECK(Header(R"({"t":{}})") == "D/f#/t: error[FR708]: the entry of `t` has no `dtype`");
  CHECK(Header(R"({"t":[]})") ==
        "D/f#/t: error[FR708]: the entry of `t`: expected an object, found a list");
  CHECK(Header(R"({"t":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", 4) ==
        "D/f#/t: error[FR702]: `shape` stands twice in the entry of `t`");
  CHECK(Header(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0}})", 4) ==
        "D/f#/t: error[FR708]: the entry of `t` has a key `x` that the format does not have");
}

TEST_CASE("a file that is refused leaves the table as it was") {
  TensorTable table;
  Diagnostics diagnostics;
  const std::string good = R"({"a":{"dtype":"U8","shape":[2,1],"data_offsets":[0,2]}})";
  CHECK(ParseHeader("f", good, 100, 2, 0, nullptr, &table, &diagnostics));
  CHECK_FALSE(ParseHeader("g", good, 100, 3, 1, nullptr, &table, &diagnostics));
  CHECK(table.tensors.size() == 1);
  CHECK(table.dims.size() == 2);
}
