// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/checkpoint.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/checkpoint/index_file.h"
#include "tests/engine/opened.h"

using namespace ferrule;
using test::Open;
using test::Problem;

namespace {

// U8 tensors of these sizes, one after the other.
std::string Shard(const std::vector<std::pair<std::string, int>>& tensors) {
  std::string header = "{";
  int at = 0;
  for (const auto& [name, size] : tensors) {
    header += (at || header.size() > 1 ? ",\"" : "\"") + name + R"(":{"dtype":"U8","shape":[)" +
              std::to_string(size) + R"(],"data_offsets":[)" + std::to_string(at) + "," +
              std::to_string(at + size) + "]}";
    at += size;
  }
  std::string file = Safetensors(header + "}", 0);
  for (int i = 0; i < at; ++i) file += static_cast<char>(i);
  return file;
}

// A checkpoint of a (2 bytes, file 1) and b and c (1 byte each, file 2) whose index is `index`.
std::string WithIndex(std::string_view index) {
  const TempDir directory;
  directory.Write("config.json", "{}")
      .Write("1", Shard({{"a", 2}}))
      .Write("2", Shard({{"b", 1}, {"c", 1}}));
  directory.Write("model.safetensors.index.json", index);
  return Problem(directory);
}

std::string WithMap(const std::string& map) { return WithIndex("{\"weight_map\":{" + map + "}}"); }

constexpr char kGoodMap[] =
    R"({"metadata":{"total_size":4},"weight_map":{"a":"1","b":"2","c":"2"}})";

}  // namespace

TEST_CASE("an index and its files, others beside them ignored") {
  const TempDir directory;
  directory.Write("config.json", R"({"model_type":"m"})").Write("1", Shard({{"a", 2}}));
  directory.Write("2", Shard({{"b", 1}, {"c", 1}})).Write("other.safetensors", "garbage");
  directory.Write("model.safetensors", "garbage").Write("model.safetensors.index.json", kGoodMap);
  const Checkpoint checkpoint = Open(directory);
  CHECK(checkpoint.has_headers);
  CHECK(checkpoint.has_weights);
  CHECK(checkpoint.files == std::vector<std::string>{"1", "2"});
  CHECK(checkpoint.config.Find("model_type").Text() == "m");
  CHECK(checkpoint.tensors().size() == 3);
  CHECK(checkpoint.header_bytes > 100);
  const Tensor* const c = checkpoint.Find("c");
  REQUIRE(c);
  CHECK(checkpoint.FileOf(*c) == "2");
  CHECK(checkpoint.LocationOf(*c).ToString() == directory / "2#/c");
  CHECK_FALSE(checkpoint.Find("d"));
}

TEST_CASE("one file without an index") {
  const TempDir directory;
  directory.Write("config.json", "{}").Write("model.safetensors", Shard({{"a", 2}}));
  const Checkpoint checkpoint = Open(directory);
  CHECK(checkpoint.tensors().size() == 1);
  CHECK(checkpoint.has_weights);
}

TEST_CASE("config.json alone") {
  const TempDir directory;
  directory.Write("config.json", R"({"quantization_config":null})");
  const Checkpoint checkpoint = Open(directory);
  CHECK_FALSE(checkpoint.has_headers);
  CHECK_FALSE(checkpoint.has_weights);
  CHECK(checkpoint.tensors().empty());
  CHECK_FALSE(checkpoint.Find("a"));
  CHECK_FALSE(checkpoint.hf_quant_config);
  CHECK_FALSE(checkpoint.quantization_config);
}

TEST_CASE("a checkpoint may be moved and shared") {
  const TempDir directory;
  directory.Write("config.json", "{}").Write("model.safetensors", Shard({{"a", 2}, {"b", 3}}));
  Checkpoint first = Open(directory);
  const Checkpoint second = std::move(first);
  REQUIRE(second.Find("b"));
  CHECK(second.Find("b")->name == "b");
  CHECK(ShapeText(second.shape(*second.Find("b"))) == "[3]");
}

TEST_CASE("the quantization config may stand beside config.json") {
  const TempDir directory;
  directory.Write("config.json", "{}")
      .Write("quantization_config.json", R"({"quant_method":"fp8"})");
  directory.Write("hf_quant_config.json", R"({"producer":{}})");
  const Checkpoint checkpoint = Open(directory);
  CHECK(checkpoint.quantization_config.Find("quant_method").location().ToString() ==
        directory / "quantization_config.json#/quant_method");
  CHECK(checkpoint.hf_quant_config.Find("producer").is_object());
  directory.Write("config.json", R"({"quantization_config":{"quant_method":"fp8"}})");
  CHECK(Problem(directory).empty());
  directory.Write("config.json",
                  R"({"quantization_config":{"quant_method":"fp8","ignore":["a"]}})");
  CHECK(Problem(directory) ==
        "D/config.json#/quantization_config/ignore: error[FR604]: `quantization_config.json` and "
        "the `quantization_config` of config.json differ | D/quantization_config.json: the other "
        "one | help: remove one of them; readers differ on which one counts");
  directory.Write("config.json", R"({"quantization_config":{"quant_method":"awq"}})");
  CHECK(Problem(directory) ==
        "D/config.json#/quantization_config/quant_method: error[FR604]: `quantization_config.json` "
        "and the `quantization_config` of config.json differ | D/quantization_config.json: the "
        "other one | help: remove one of them; readers differ on which one counts");
}

TEST_CASE("what is no checkpoint") {
  const TempDir directory;
  Diagnostics diagnostics;
  CHECK_FALSE(OpenCheckpoint(directory / "none", &diagnostics));
  CHECK(Lines(diagnostics, directory.path()) == "D/none: error[FR901]: `D/none` does not exist");
  CHECK(diagnostics.ExitCode() == 2);
  directory.Write("f", "");
  Diagnostics file;
  CHECK_FALSE(OpenCheckpoint(directory / "f", &file));
  CHECK(Lines(file, directory.path()) ==
        "D/f: error[FR901]: `D/f` is a file, not a directory | help: name the directory that holds "
        "`config.json`");
  CHECK(file.ExitCode() == 2);
  CHECK(Problem(directory) ==
        "D/config.json: error[FR715]: `D` has no `config.json` | help: name the directory of a "
        "checkpoint; its `config.json` says which model it is");
  directory.Write("config.json", "[]");
  CHECK(Problem(directory) == "D/config.json: error[FR704]: expected an object, found a list");
  directory.Write("config.json", "{").Write("hf_quant_config.json", "{,}");
  CHECK(Problem(directory) ==
        "D/config.json:1:2: error[FR701]: this is not JSON: it ends within a list or object\n"
        "D/hf_quant_config.json:1:2: error[FR701]: this is not JSON: expected a name in quotes");
}

TEST_CASE("a config.json that is a directory") {
  const TempDir directory;
  CHECK(mkdir((directory / "config.json").c_str(), 0700) == 0);
  CHECK(Problem(directory) ==
        "D/config.json: error[FR706]: `D/config.json` is a directory, not a file");
}

TEST_CASE("case 56: a config.json of more than 16 MiB") {
  const TempDir directory;
  const std::string text = R"({"model_type":"m"})";
  directory.Write("config.json", text + std::string((16 << 20) - text.size(), ' '));
  CHECK(Problem(directory).empty());
  directory.Write("config.json", text + std::string((16 << 20) - text.size() + 1, ' '));
  CHECK(Problem(directory) ==
        "D/config.json: error[FR703]: `D/config.json` has 16777217 bytes; at most 16777216 are "
        "read");
}

TEST_CASE("weights and a header fixture together") {
  const TempDir directory;
  directory.Write("config.json", "{}")
      .Write("tensors.json", R"({"tensors":[]})")
      .Write("model.safetensors", Shard({{"a", 2}}));
  CHECK(Problem(directory) ==
        "D/tensors.json: error[FR714]: the directory holds both weights and a header fixture | "
        "found: `model.safetensors` and `tensors.json` | help: keep one of them; which one is "
        "meant cannot be told");
}

TEST_CASE("shards without an index are an incomplete download") {
  const TempDir directory;
  directory.Write("config.json", "{}").Write("model-00002-of-00002.safetensors", "");
  CHECK(Problem(directory) ==
        "D/model.safetensors.index.json: error[FR706]: `model.safetensors.index.json` is missing, "
        "but `model-00002-of-00002.safetensors` is there | help: complete the download; without "
        "the index it cannot be told which files belong together");
}

TEST_CASE("case 67: file names that lead elsewhere") {
  CHECK(WithMap(R"("a":"../x")") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in `../x`: "
        "this leads out of the directory of the checkpoint | help: the file must lie beside the "
        "index and be named without directories");
  CHECK(WithMap(R"("a":"/etc/passwd")") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in "
        "`/etc/passwd`: this leads out of the directory of the checkpoint | help: the file must "
        "lie beside the index and be named without directories");
  CHECK(WithMap(R"("a":"x/y")") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in `x/y`: "
        "this leads out of the directory of the checkpoint | help: the file must lie beside the "
        "index and be named without directories");
  CHECK(WithMap(R"("a":"x\\y")") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in `x\\y`: "
        "this leads out of the directory of the checkpoint | help: the file must lie beside the "
        "index and be named without directories");
  CHECK(WithMap(R"("a":"x\u002fy")") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in `x/y`: "
        "this leads out of the directory of the checkpoint | help: the file must lie beside the "
        "index and be named without directories");
  CHECK(
      WithMap(R"("a":".")") ==
      "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in `.`: this "
      "is a directory | help: the file must lie beside the index and be named without directories");
  CHECK(
      WithMap(R"("a":"..")") ==
      "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in `..`: this "
      "is a directory | help: the file must lie beside the index and be named without directories");
  CHECK(WithMap(R"("a":"")") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in ``: a "
        "file name cannot be empty | help: the file must lie beside the index and be named without "
        "directories");
  CHECK(WithMap(R"("a":"x\u0000")") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in "
        "`x\\x00`: a file name cannot hold a NUL | help: the file must lie beside the index and be "
        "named without directories");
  CHECK(WithMap(R"("a":"~root")") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR705]: `a` is said to be in `~root`: "
        "`~` may be read as a home directory | help: the file must lie beside the index and be "
        "named without directories");
  CHECK(WithMap("\"a\":\"" + std::string(256, 'x') + "\"").find("error[FR705]") !=
        std::string::npos);
  CHECK(FileNameProblem(std::string(4097, 'x')) == "the name has 4097 bytes; at most 255 are read");
  CHECK(FileNameProblem(std::string(255, 'x')).empty());
  CHECK(FileNameProblem("model-00001-of-00002.safetensors").empty());
}

TEST_CASE("case 68: links are followed, as a hub cache needs") {
  const TempDir cache;
  CHECK(mkdir((cache / "blobs").c_str(), 0700) == 0);
  CHECK(mkdir((cache / "snapshots").c_str(), 0700) == 0);
  cache.Write("blobs/1", Shard({{"a", 2}})).Write("snapshots/config.json", "{}");
  CHECK(symlink("../blobs/1", (cache / "snapshots/model.safetensors").c_str()) == 0);
  Diagnostics diagnostics;
  CHECK(OpenCheckpoint(cache / "snapshots", &diagnostics));
  CHECK(unlink((cache / "blobs/1").c_str()) == 0);
  CHECK_FALSE(OpenCheckpoint(cache / "snapshots", &diagnostics));
  CHECK(Lines(diagnostics, cache.path()) ==
        "D/snapshots/model.safetensors: error[FR706]: `D/snapshots/model.safetensors` is a link to "
        "`../blobs/1`, which does not exist | help: complete the download, or fetch it again");
}

TEST_CASE("case 69: files of the index are missing") {
  CHECK(WithMap(R"("a":"1","b":"2","c":"3","d":"4")") ==
        "D/3: error[FR706]: `D/3` does not exist | found: 2 of 4 files of the index are missing | "
        "help: complete the download, or fetch it again");
  const TempDir directory;
  directory.Write("config.json", "{}")
      .Write("model.safetensors.index.json", R"({"weight_map":{"a":"f"}})");
  CHECK(mkfifo((directory / "f").c_str(), 0600) == 0);
  CHECK(Problem(directory) ==
        "D/f: error[FR706]: `D/f` is a FIFO, not a file | help: complete the download, or fetch it "
        "again");
}

TEST_CASE("case 70: an empty file, and every broken file is named") {
  const TempDir directory;
  directory.Write("config.json", "{}").Write("1", "").Write("2", "12345678");
  directory.Write("model.safetensors.index.json", kGoodMap);
  CHECK(Problem(directory) ==
        "D/1: error[FR708]: the file is empty | help: download it again\n"
        "D/2: error[FR708]: the header would have 4050765991979987505 bytes; at most 100000000 are "
        "read");
}

TEST_CASE("case 71: tensors that are not where the index says") {
  CHECK(WithMap(R"("a":"1","b":"2","c":"2","d":"2","e":"1")") ==
        "D/model.safetensors.index.json#/weight_map/d: error[FR707]: `d` should be in `2`, whose "
        "header does not have it | found: 2 such tensors");
  CHECK(WithMap(R"("a":"1","b":"1","c":"2")") ==
        "D/model.safetensors.index.json#/weight_map/b: error[FR707]: `b` should be in `1`, but is "
        "in `2`");
}

TEST_CASE("case 72: tensors that the index does not name") {
  CHECK(WithMap(R"("a":"1","b":"2")") ==
        "D/2#/c: error[FR707]: `c` is in `2`, but not in the index");
  CHECK(WithMap(R"("a":"2","b":"2","c":"2")") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR707]: `a` should be in `2`, whose "
        "header does not have it");
}

TEST_CASE("case 73: a tensor in two files") {
  const TempDir directory;
  directory.Write("config.json", "{}")
      .Write("1", Shard({{"a", 2}, {"b", 1}}))
      .Write("2", Shard({{"b", 1}, {"a", 2}}));
  directory.Write("model.safetensors.index.json", R"({"weight_map":{"a":"1","b":"2"}})");
  CHECK(Problem(directory) ==
        "D/2#/b: error[FR707]: `b` is in two files | D/1#/b: also here | found: 2 names that stand "
        "twice");
}

TEST_CASE("case 74: names that stand twice in the index") {
  CHECK(
      WithMap(R"("a":"1","b":"2","c":"2","b":"2")") ==
      "D/model.safetensors.index.json#/weight_map/b: error[FR702]: `b` stands twice in the index");
  CHECK(
      WithMap(R"("a":"1","b":"2","c":"2","\u0062":"1")") ==
      "D/model.safetensors.index.json#/weight_map/b: error[FR702]: `b` stands twice in the index");
  CHECK(WithIndex(R"({"weight_map":{"a":"1"},"weight_map":{"b":"2"}})") ==
        "D/model.safetensors.index.json: error[FR702]: `weight_map` stands twice in the index");
  CHECK(WithIndex(R"({"metadata":{"total_size":4,"total_size":4},"weight_map":{"a":"1"}})") ==
        "D/model.safetensors.index.json#/metadata: error[FR702]: `total_size` stands twice in "
        "`metadata`");
  CHECK(WithIndex(R"({"x":{"y":1,"y":2},"weight_map":{"a":"1"}})") ==
        "D/model.safetensors.index.json: error[FR702]: `y` stands twice in one object (byte 12)");
}

TEST_CASE("case 75: an index of another shape") {
  CHECK(WithIndex("[]") ==
        "D/model.safetensors.index.json: error[FR704]: expected an object, found a list (byte 0)");
  CHECK(WithIndex("{}") ==
        "D/model.safetensors.index.json: error[FR704]: the index has no `weight_map`");
  CHECK(WithIndex(R"({"weight_map":[]})") ==
        "D/model.safetensors.index.json#/weight_map: error[FR704]: expected an object, found a "
        "list (byte 14)");
  CHECK(WithIndex(R"({"weight_map":{}})") ==
        "D/model.safetensors.index.json#/weight_map: error[FR704]: `weight_map` names no tensor");
  CHECK(WithMap(R"("a":1)") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR704]: expected text, found a number "
        "(byte 19)");
  CHECK(WithMap(R"("a":null)") ==
        "D/model.safetensors.index.json#/weight_map/a: error[FR704]: expected text, found null "
        "(byte 19)");
  CHECK(WithIndex(R"({"metadata":3,"weight_map":{"a":"1"}})") ==
        "D/model.safetensors.index.json#/metadata: error[FR704]: expected an object, found a "
        "number (byte 12)");
  CHECK(WithMap(R"("":"1")") ==
        "D/model.safetensors.index.json#/weight_map: error[FR713]: a tensor has an empty name");
  CHECK(WithIndex(R"({"weight_map":{"a":"1"})") ==
        "D/model.safetensors.index.json: error[FR701]: the index is not JSON: it ends within a "
        "list or object (byte 23)");
  CHECK(WithIndex(R"({"weight_map":{"a":"1"}} x)") ==
        "D/model.safetensors.index.json: error[FR701]: the index is not JSON: text after the end "
        "of the value (byte 25)");
  CHECK(WithIndex(R"({"weight_map":{"a":"1",}})") ==
        "D/model.safetensors.index.json: error[FR701]: the index is not JSON: expected a name in "
        "quotes (byte 23)");
}

TEST_CASE("case 76: limits of the index") {
  std::string map;
  for (size_t i = 0; i <= kMaxIndexFiles; ++i)
    map += (i ? ",\"t" : "\"t") + std::to_string(i) + "\":\"" + std::to_string(i) + "\"";
  CHECK(WithMap(map) ==
        "D/model.safetensors.index.json: error[FR703]: the index names more than 4096 files");
  map.clear();
  for (size_t i = 0; i <= kMaxIndexNames; ++i)
    map += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"1\"";
  CHECK(WithMap(map) ==
        "D/model.safetensors.index.json: error[FR703]: the index has more than 2000000 names");
  const TempDir directory;
  directory.Write("config.json", "{}").Write("model.safetensors.index.json", "{}");
  CHECK(truncate((directory / "model.safetensors.index.json").c_str(),
                 static_cast<off_t>(kMaxIndexBytes) + 1) == 0);
  CHECK(Problem(directory) ==
        "D/model.safetensors.index.json: error[FR703]: `D/model.safetensors.index.json` has "
        "67108865 bytes; at most 67108864 are read");
  CHECK(WithIndex("{\"x\":" + std::string(70, '[') + std::string(70, ']') +
                  R"(,"weight_map":{"a":"1"}})") ==
        "D/model.safetensors.index.json: error[FR703]: too many levels (byte 67)");
}

TEST_CASE("case 76: what is just within the limits of the index") {
  const auto accepted = [](size_t names, size_t files) {
    std::string text = "{\"weight_map\":{";
    for (size_t i = 0; i < names; ++i)
      text += fmt::format("{}\"{}\":\"{}\"", i ? "," : "", i, i % files);
    Diagnostics diagnostics;
    const auto index = ParseIndex("i", text + "}}", &diagnostics);
    return index && index->names.size() == names && index->files.size() == files;
  };
  CHECK(accepted(kMaxIndexFiles, kMaxIndexFiles));
  CHECK(accepted(kMaxIndexNames, 1));
}

TEST_CASE("case 77: total_size that is wrong is only a warning") {
  CHECK(WithIndex(kGoodMap).empty());
  CHECK(WithIndex(R"({"metadata":{"total_size":5},"weight_map":{"a":"1","b":"2","c":"2"}})") ==
        "D/model.safetensors.index.json#/metadata/total_size: warning[FR712]: `total_size` is 5, "
        "but the tensors have 4 bytes");
  CHECK(WithIndex(R"({"metadata":{"total_size":4.0},"weight_map":{"a":"1","b":"2","c":"2"}})")
            .empty());
}

TEST_CASE("bytes of a tensor are read and checked") {
  const TempDir directory;
  directory.Write("config.json", "{}").Write("model.safetensors", Shard({{"a", 2}, {"b", 5}}));
  const Checkpoint checkpoint = Open(directory);
  const Tensor& b = *checkpoint.Find("b");
  std::string bytes(3, '\0');
  Diagnostics diagnostics;
  CHECK(checkpoint.ReadBytes(b, 1, 3, bytes.data(), &diagnostics));
  CHECK(bytes == "\3\4\5");
  CHECK(checkpoint.ReadBytes(b, 5, 0, bytes.data(), &diagnostics));
  CHECK(diagnostics.findings().empty());
  CHECK_FALSE(checkpoint.ReadBytes(b, 3, 3, bytes.data(), &diagnostics));
  CHECK_FALSE(checkpoint.ReadBytes(b, UINT64_MAX, 3, bytes.data(), &diagnostics));
  CHECK(Lines(diagnostics, directory.path()) ==
        "D/model.safetensors#/b: error[FR903]: 3 bytes of `b` were asked for from byte 3 on; it "
        "has 5\n"
        "D/model.safetensors#/b: error[FR903]: 3 bytes of `b` were asked for from byte "
        "18446744073709551615 on; it has 5");
}

TEST_CASE("case 102: a file that changes after its header was read is refused") {
  const TempDir directory;
  directory.Write("config.json", "{}").Write("model.safetensors", Shard({{"a", 2}, {"b", 5}}));
  const Checkpoint checkpoint = Open(directory);
  CHECK(truncate((directory / "model.safetensors").c_str(), 10) == 0);
  std::string bytes(5, '\0');
  Diagnostics diagnostics;
  CHECK_FALSE(checkpoint.ReadBytes(*checkpoint.Find("b"), 0, 5, bytes.data(), &diagnostics));
  CHECK(unlink((directory / "model.safetensors").c_str()) == 0);
  CHECK_FALSE(checkpoint.ReadBytes(*checkpoint.Find("b"), 0, 5, bytes.data(), &diagnostics));
  CHECK(Lines(diagnostics, directory.path()) ==
        "D/model.safetensors#/b: error[FR902]: `D/model.safetensors` has changed since its header "
        "was read | help: something writes to the checkpoint; start again when it is complete\n"
        "D/model.safetensors: error[FR706]: `D/model.safetensors` does not exist");
}
