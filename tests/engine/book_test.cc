// SPDX-License-Identifier: Apache-2.0
// Directories of rule files: what is read, what wins, what is refused.
#include "engine/plan/book.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "tests/catch.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;

namespace {

// A rule file of one linear with `rows` rows. `more` is appended to the keys of the linear.
std::string Rules(const std::string& types, int rows, const std::string& more = "") {
  return fmt::format(
      "ferrule: 1\nmodel_type: {}\nabout: one linear\nunverified: made up\n"
      "modules:\n  fc: {{rows: {}, in: 8, split: none{}}}\nexample: {{a: 1}}\n",
      types, rows, more);
}

std::string DialectText(const std::string& name, const std::string& method) {
  return fmt::format(
      "ferrule: 1\ndialect: {}\nclaims: {{quant_method: [{}]}}\nlist: {{keys: [ignore]}}\n"
      "match: [exact]\nschemes: [{{scheme: fp8_tensor}}]\n",
      name, method);
}

// The rows of the linear in the file that describes `type`; "none" when there is none.
std::string RowsOf(const Book& book, const std::string& type) {
  const auto at = book.by_model_type.find(type);
  return at == book.by_model_type.end() ? "none" : at->second->root.children[0].rows->Text();
}

}  // namespace

TEST_CASE("a book has every rule file and dialect of its directory") {
  const TempDir dir;
  std::filesystem::create_directory(dir / "dialects");
  std::filesystem::create_directory(dir / "folder.yaml");
  dir.Write("a.yaml", Rules("a", 1))
      .Write("b.yaml", Rules("[b, c]", 2))
      .Write("README.md", "no rules");
  dir.Write("dialects/d.yaml", DialectText("d", "m"));
  Diagnostics out;
  const auto book = LoadBook({{dir.path()}, "", {}}, &out);
  REQUIRE(book);
  CHECK(Lines(out, dir.path()) == "");
  CHECK(book->files.size() == 2);
  CHECK(book->complete);
  CHECK(RowsOf(*book, "a") == "1");
  CHECK(RowsOf(*book, "c") == "2");
  CHECK(RowsOf(*book, "d") == "none");
  REQUIRE(book->dialects.size() == 1);
  CHECK(book->dialects[0]->name == "d");
}

TEST_CASE("later directories win by model_type and by name of the dialect, single files over all") {
  const TempDir base, overlay, single;
  std::filesystem::create_directory(base / "dialects");
  std::filesystem::create_directory(overlay / "dialects");
  base.Write("a.yaml", Rules("[a, b]", 1)).Write("c.yaml", Rules("c", 1));
  base.Write("dialects/d.yaml", DialectText("d", "old"))
      .Write("dialects/e.yaml", DialectText("e", "e"));
  overlay.Write("x.yaml", Rules("b", 2)).Write("dialects/any.yaml", DialectText("d", "new"));
  single.Write("y.yaml", Rules("c", 3));
  Diagnostics out;
  const auto book = LoadBook({{base.path(), overlay.path()}, "", {single / "y.yaml"}}, &out);
  REQUIRE(book);
  CHECK(out.findings().empty());
  CHECK(RowsOf(*book, "a") == "1");
  CHECK(RowsOf(*book, "b") == "2");
  CHECK(RowsOf(*book, "c") == "3");
  REQUIRE(book->dialects.size() == 2);
  CHECK(book->dialects[0]->quant_methods[0] == "new");
}

TEST_CASE("files that plainly claim other model types are not read when one is asked for") {
  const TempDir dir;
  dir.Write("a.yaml", Rules("a", 1)).Write("broken.yaml", "model_type: b\n- ,");
  dir.Write("list.yaml", Rules("\n  - c\n  - a2", 2));
  Diagnostics out;
  const auto book = LoadBook({{dir.path()}, "a", {}}, &out);
  REQUIRE(book);
  CHECK(Lines(out, dir.path()) == "");
  CHECK_FALSE(book->complete);
  CHECK(RowsOf(*book, "a") == "1");
  CHECK(RowsOf(*book, "c") == "2");  // a list below the key: read to be sure
}

TEST_CASE("a file whose model_type cannot be told is read, whatever it is for") {
  const auto codes = [](const std::string& head) {
    const TempDir dir;
    dir.Write("a.yaml", Rules("a", 1)).Write("other.yaml", head);
    Diagnostics out;
    const auto book = LoadBook({{dir.path()}, "a", {}}, &out);
    REQUIRE(book);
    return out.findings().empty() ? "" : CodeName(out.findings()[0].code);
  };
  CHECK(codes("model_type: [") == "FR002");
  CHECK(codes("model_type: [b") == "FR002");
  CHECK(codes("model_type: {") == "FR002");
  CHECK(codes("model_type: \"b") == "FR002");
  CHECK(codes("model_type: 'b") == "FR002");
  CHECK(codes("model_type: &name b\nx: [") == "FR005");
  CHECK(codes("model_type: # of two\n  [") == "FR102");
  CHECK(codes("model_type:\r\n  [") == "FR102");
  CHECK(codes(Rules("[b,\n  a]", 1)) == "FR112");
  CHECK(codes(Rules("\"\\x61\"", 1)) == "FR112");
  // Plainly for another one.
  CHECK(codes("model_type: b\nx: [") == "");
  CHECK(codes("model_type: b  # not [\nx: [") == "");
  CHECK(codes("model_type: [b, c]\r\nx: [") == "");
  CHECK(codes("model_type: \"b\"\nx: [") == "");
}

TEST_CASE("what cannot be read is said") {
  const TempDir dir;
  Diagnostics out;
  SECTION("no such directory") {
    CHECK_FALSE(LoadBook({{dir / "none"}, "", {}}, &out));
    CHECK(Lines(out, dir.path()) ==
          "D/none: error[FR901]: the directory `D/none` cannot be read: No such file or directory");
    CHECK(out.ExitCode() == 2);
  }
  SECTION("no such file") {
    CHECK_FALSE(LoadBook({{}, "", {dir / "none.yaml"}}, &out));
    CHECK(out.findings()[0].code == Code::kNotFound);
  }
  SECTION("a directory in place of a file") {
    CHECK_FALSE(LoadBook({{}, "", {dir.path()}}, &out));
    CHECK(out.findings()[0].code == Code::kNotFound);
  }
  SECTION("a FIFO, on which reading would wait for ever") {
    REQUIRE(mkfifo((dir / "pipe.yaml").c_str(), 0600) == 0);
    const auto book = LoadBook({{dir.path()}, "", {}}, &out);
    REQUIRE(book);
    CHECK(book->files.empty());
    CHECK(out.findings()[0].code == Code::kNotFound);
  }
  SECTION("/dev/zero, which never ends") {
    CHECK_FALSE(LoadBook({{}, "", {"/dev/zero"}}, &out));
    CHECK(out.findings()[0].code == Code::kNotFound);
  }
}

TEST_CASE("a directory that adds nothing is an error with what it holds instead") {
  const TempDir base, overlay;
  base.Write("a.yaml", Rules("a", 1));
  const auto load = [&](Diagnostics* out) {
    return LoadBook({{base.path(), overlay.path()}, "", {}}, out).has_value();
  };
  const auto help = [&] {
    Diagnostics out;
    CHECK_FALSE(load(&out));
    REQUIRE(out.findings().size() == 1);
    const Finding& finding = out.findings()[0];
    CHECK(finding.message == "no rule file, dialect or runtime is in `" + overlay.path() + "`");
    CHECK(finding.at.path == overlay.path());
    CHECK(out.ExitCode() == 2);
    return finding.help;
  };
  CHECK(help().rfind("rule files are the `.yaml` files in the directory itself, dialects", 0) == 0);
  overlay.Write("README.md", "no rules");
  CHECK(help().rfind("rule files are", 0) == 0);
  std::filesystem::create_directory(overlay / "rules");
  CHECK(help().rfind("rule files are", 0) == 0);
  overlay.Write("rules/b.yaml", Rules("b", 1));
  CHECK(help() == "did you mean `" + (overlay / "rules") + "`?");
  overlay.Write("b.yml", Rules("b", 1));
  CHECK(help() == "rename them: rule files end in `.yaml`");
  Diagnostics out;
  SECTION("runtimes alone are something") {
    std::filesystem::create_directory(overlay / "runtimes");
    overlay.Write("runtimes/x@1.yaml", "");
    CHECK(load(&out));
  }
  SECTION("dialects alone too") {
    std::filesystem::create_directory(overlay / "dialects");
    overlay.Write("dialects/d.yaml", DialectText("d", "m"));
    CHECK(load(&out));
  }
  CHECK(out.findings().empty());
}

TEST_CASE("a file with mistakes is left out and the rest is kept") {
  const TempDir dir;
  dir.Write("a.yaml", Rules("a", 1, ", wide: 1")).Write("b.yaml", Rules("b", 2));
  Diagnostics out;
  const auto book = LoadBook({{dir.path()}, "", {}}, &out);
  REQUIRE(book);
  CHECK(RowsOf(*book, "a") == "none");
  CHECK(RowsOf(*book, "b") == "2");
  CHECK(out.ExitCode() == 1);
}

TEST_CASE("`differs` is answered by the sibling, which may be the same file") {
  const TempDir dir;
  dir.Write("a.yaml", Rules("[a, a_text]", 1, ", differs: {b: two rows there}"));
  dir.Write("b.yaml", Rules("b", 2, ", differs: {a_text: one row there}"));
  Diagnostics out;
  const auto book = LoadBook({{dir.path()}, "", {}}, &out);
  REQUIRE(book);
  for (const auto& file : book->files) CheckDiffers(*book, *file, &out);
  CHECK(Lines(out, dir.path()) == "");
}

TEST_CASE("fused names of other files are known, to recognise what they store apart") {
  const TempDir dir;
  dir.Write("a.yaml", Rules("a", 1));
  dir.Write("b.yaml",
            "ferrule: 1\nmodel_type: b\nabout: fused\nunverified: made up\nmodules:\n"
            "  x: {rows: 1, in: 1, split: none}\n  y: {rows: 1, in: 1, split: none}\n"
            "  xy: {fused: [x, y]}\nexample: {a: 1}\n");
  Diagnostics out;
  const auto book = LoadBook({{dir.path()}, "", {}}, &out);
  REQUIRE(book);
  const auto known = book->Fused(book->by_model_type.find("a")->second.get());
  REQUIRE(known.size() == 1);
  CHECK(known[0].name == "xy");
  CHECK(known[0].parts == std::vector<std::string>{"x", "y"});
  CHECK(book->Fused(book->by_model_type.find("b")->second.get()).empty());
}
