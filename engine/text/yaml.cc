// SPDX-License-Identifier: Apache-2.0
// yaml-cpp's events → YamlNode tree. yaml-cpp 0.7 keeps duplicate keys, reads only the first of
// several documents, accepts an unterminated quote at the end of the file and joins a mis-indented
// list item to its neighbour; all of that is found here by looking at events and source together.
#include "engine/text/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>

namespace ferrule {
namespace {

struct Stop {};  // thrown through yaml-cpp after the finding was added; caught in ParseYaml

int CodePointColumn(std::string_view line, int bytes) {
  const auto head = line.substr(0, static_cast<size_t>(std::max(0, bytes)));
  return 1 + static_cast<int>(std::count_if(head.begin(), head.end(),
                                            [](char c) { return (c & 0xC0) != 0x80; }));
}

class Builder : public YAML::EventHandler {
 public:
  Builder(std::shared_ptr<const Source> source, Diagnostics* out)
      : source_(std::move(source)), out_(out) {}

  bool seen() const { return seen_; }
  YamlNode Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    NoAnchor(mark, anchor);
    YamlNode node;
    node.place = PlaceOf(mark, 1);
    // The mark of a value that is not written stands before whatever comes next: show its key.
    const size_t at = source_->Offset(mark.line + 1, mark.column);
    const std::string_view rest = std::string_view(source_->text()).substr(at, 4);
    const bool written =
        rest.substr(0, 1) == "~" || rest == "null" || rest == "Null" || rest == "NULL";
    if (!written && !stack_.empty() && stack_.back().has_key)
      node.place = stack_.back().entry.key_place;
    Put(mark, std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { Alias(mark); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    NoAnchor(mark, anchor);
    NoTag(mark, tag);
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.text = value;
    const size_t begin = source_->Offset(mark.line + 1, mark.column);
    const std::string& text = source_->text();
    const char first = begin < text.size() ? text[begin] : '\0';
    size_t length = value.size();
    if (first == '"' || first == '\'') {
      const size_t end = ClosingQuote(begin);
      if (end == std::string::npos) Refuse(Code::kYamlSyntax, "a quote is never closed", mark, 1);
      length = end - begin + 1;
    } else if (first == '|' || first == '>') {
      length = 1;
    } else {
      node.plain = true;
      if (text.compare(begin, value.size(), value) != 0)
        Refuse(Code::kYamlSyntax, "a value without quotes goes over several lines", mark,
               source_->Line(mark.line + 1).size() - static_cast<size_t>(mark.column),
               "mend the indentation of the next line, or quote the whole value");
    }
    if (value.size() > kYamlMaxString)
      Refuse(Code::kYamlLimit,
             fmt::format("a text of {} bytes; at most {} are read", value.size(), kYamlMaxString),
             mark, 1);
    node.place = PlaceOf(mark, length);
    Put(mark, std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    Open(mark, tag, anchor, YamlNode::Kind::kList, style);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMap, style);
  }
  void OnMapEnd() override { Close(); }

  [[noreturn]] void Refuse(Code code, std::string message, const YAML::Mark& mark, size_t length,
                           std::string help = {}) {
    out_->Add(code, std::move(message), LocationOf(mark, length)).Help(std::move(help));
    throw Stop{};
  }

  [[noreturn]] void Alias(const YAML::Mark& mark) {
    Refuse(Code::kYamlAlias,
           "`*` at the start of a value is a YAML alias, and aliases are not read", mark, 1,
           "quote a value that begins with `*`; write a repeated subtree under `shapes:`");
  }

  Location LocationOf(const YAML::Mark& mark, size_t length) const {
    const YamlPlace place = PlaceOf(mark, length);
    return {source_, source_->path(), place.line, place.column, place.end_column, ""};
  }

 private:
  struct Frame {
    YamlNode node;
    YAML::Mark mark;
    bool has_key = false;
    YamlEntry entry;
    std::unordered_map<std::string, YamlPlace> keys;  // of a mapping with many
  };

  static constexpr size_t kManyKeys = 16;

  // Where `key` stands in the mapping already; null when it does not.
  static const YamlPlace* Known(Frame* frame, const std::string& key) {
    const std::vector<YamlEntry>& entries = frame->node.entries;
    if (entries.size() < kManyKeys) {
      for (const YamlEntry& entry : entries)
        if (entry.key == key) return &entry.key_place;
      return nullptr;
    }
    for (size_t i = frame->keys.size(); i < entries.size(); ++i)
      frame->keys.emplace(entries[i].key, entries[i].key_place);
    const auto at = frame->keys.find(key);
    return at == frame->keys.end() ? nullptr : &at->second;
  }

  YamlPlace PlaceOf(const YAML::Mark& mark, size_t length) const {
    const std::string_view line = source_->Line(mark.line + 1);
    const int last = std::min(static_cast<int>(line.size()),
                              mark.column + static_cast<int>(std::min<size_t>(length, 1 << 20)));
    // Events come in the order of the text, so columns are counted on from the one before: a file
    // of one long line would take quadratic time otherwise.
    if (mark.line != counted_line_ || mark.column < counted_bytes_) {
      counted_line_ = mark.line;
      counted_bytes_ = 0;
      counted_column_ = 1;
    }
    const auto count = [&](int from, int to) {
      return CodePointColumn(line.substr(static_cast<size_t>(from)), to - from) - 1;
    };
    const int begin = std::clamp(mark.column, counted_bytes_, static_cast<int>(line.size()));
    counted_column_ += count(counted_bytes_, begin);
    counted_bytes_ = begin;
    const int end = counted_column_ + (last > begin ? count(begin, last) : 0);
    return {mark.line + 1, counted_column_, std::max(counted_column_ + 1, end)};
  }

  size_t ClosingQuote(size_t begin) const {
    const std::string& text = source_->text();
    const char quote = text[begin];
    for (size_t at = begin + 1; at < text.size(); ++at) {
      if (quote == '"' && text[at] == '\\') {
        ++at;
      } else if (text[at] == quote) {
        if (quote == '\'' && at + 1 < text.size() && text[at + 1] == '\'')
          ++at;
        else
          return at;
      }
    }
    return std::string::npos;
  }

  void NoAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0)
      Refuse(Code::kYamlAlias, "an anchor (`&name`), and anchors are not read", mark, 1,
             "quote a value that begins with `&`; write a repeated subtree under `shapes:`");
  }

  // yaml-cpp gives "?" to plain values, "!" to quoted ones and to the tag `!` itself.
  void NoTag(const YAML::Mark& mark, const std::string& tag) {
    const size_t at = source_->Offset(mark.line + 1, mark.column);
    const bool written = at < source_->text().size() && source_->text()[at] == '!';
    if (written || (tag != "?" && tag != "!" && !tag.empty()))
      Refuse(Code::kYamlTag, fmt::format("the tag {} is not read", Quoted(tag, 60)), mark, 1,
             "remove it, or quote a value that begins with `!`");
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind, YAML::EmitterStyle::value style) {
    NoAnchor(mark, anchor);
    NoTag(mark, tag);
    if (static_cast<int>(stack_.size()) >= kYamlMaxDepth)
      Refuse(Code::kYamlLimit, fmt::format("more than {} levels", kYamlMaxDepth), mark, 1);
    if (!stack_.empty() && stack_.back().node.is_map() && !stack_.back().has_key) BadKey(mark);
    Frame frame;
    frame.node.kind = kind;
    frame.node.flow = style == YAML::EmitterStyle::Flow;
    frame.node.place = PlaceOf(mark, 1);
    frame.mark = mark;
    stack_.push_back(std::move(frame));
  }

  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    Put(frame.mark, std::move(frame.node));
  }

  [[noreturn]] void BadKey(const YAML::Mark& mark) {
    Refuse(Code::kWrongType, "a key must be a text", mark, 1,
           "quote a key that begins with `[`, `{` or `*`, or that is `~` or `null`");
  }

  void Put(const YAML::Mark& mark, YamlNode node) {
    if (++nodes_ > kYamlMaxNodes)
      Refuse(Code::kYamlLimit, fmt::format("more than {} values", kYamlMaxNodes), mark, 1);
    if (stack_.empty()) {
      root_ = std::move(node);
      seen_ = true;
      return;
    }
    Frame& top = stack_.back();
    if (top.node.is_list()) {
      top.node.items.push_back(std::move(node));
    } else if (!top.has_key) {
      if (!node.is_scalar()) BadKey(mark);
      if (node.plain && node.text == "<<")
        Refuse(Code::kYamlAlias, "`<<` merges another mapping, and merge keys are not read", mark,
               2);
      if (const YamlPlace* const first = Known(&top, node.text)) {
        out_->Add(Code::kYamlDuplicate, fmt::format("{} is defined twice", Quoted(node.text)),
                  {source_, source_->path(), node.place.line, node.place.column,
                   node.place.end_column, ""})
            .Mark({source_, source_->path(), first->line, first->column, first->end_column, ""},
                  "first here")
            .Help("remove one; readers of YAML differ on which one wins");
        throw Stop{};
      }
      top.entry.key = std::move(node.text);
      top.entry.key_place = node.place;
      top.has_key = true;
    } else {
      top.entry.value = std::move(node);
      top.node.entries.push_back(std::move(top.entry));
      top.entry = {};
      top.has_key = false;
    }
  }

  std::shared_ptr<const Source> source_;
  Diagnostics* out_;
  std::vector<Frame> stack_;
  YamlNode root_;
  size_t nodes_ = 0;
  bool seen_ = false;
  mutable int counted_line_ = -1, counted_bytes_ = 0, counted_column_ = 1;  // of PlaceOf
};

// yaml-cpp's message in the words of somebody who writes rule files.
void AddSyntax(const Source& source, const YAML::Exception& e, Location at, Diagnostics* out) {
  const std::string_view line = source.Line(at.line);
  std::string help;
  std::string message = fmt::format("cannot be read as YAML: {}", e.msg);
  if (e.msg.find("escape character") != std::string::npos) {
    message = "an unknown escape in double quotes";
    help = "use single quotes, in which a backslash is only a backslash";
  } else if (e.msg.find("anchor") != std::string::npos ||
             e.msg.find("alias") != std::string::npos) {
    out->Add(Code::kYamlAlias,
             "`*` at the start of a value is a YAML alias, and aliases are not read", std::move(at))
        .Help("quote a value that begins with `*`; write a repeated subtree under `shapes:`");
    return;
  } else if (const size_t tab = line.substr(0, line.find_first_not_of(" \t")).find('\t');
             tab != std::string_view::npos) {
    at.column = static_cast<int>(tab) + 1;
    at.end_column = at.column + 1;
    message = "a tab in the indentation";
    help = "indent with spaces";
  } else if (e.msg == "end of map not found") {
    message = "the line is indented like none of those above it";
    help = "give it the indentation of its neighbours";
  } else if (e.msg.find("end of") != std::string::npos ||
             e.msg.find("token") != std::string::npos) {
    help =
        "quote a value that begins with `[`, `{`, `@`, `%` or a backtick; then look at the "
        "indentation";
  }
  out->Add(Code::kYamlSyntax, std::move(message), std::move(at)).Help(std::move(help));
}

bool GoodText(const std::string& path, const std::string& text,
              const std::shared_ptr<const Source>& source, Diagnostics* out) {
  if (text.size() > kYamlMaxBytes) {
    out->Add(Code::kYamlLimit,
             fmt::format("the file has {} bytes; at most {} are read", text.size(), kYamlMaxBytes),
             {nullptr, path, 0, 0, 0, ""});
    return false;
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    out->Add(Code::kYamlEncoding, "the file begins with a byte-order mark",
             {nullptr, path, 0, 0, 0, ""})
        .Help("save it as UTF-8 without BOM");
    return false;
  }
  for (int line = 1; line <= source->lines(); ++line) {
    const std::string_view bytes = source->Line(line);
    if (!IsUtf8(bytes)) {
      out->Add(Code::kYamlEncoding, "the text is not UTF-8", {source, path, line, 1, 2, ""})
          .Help("save the file as UTF-8");
      return false;
    }
    for (size_t i = 0; i < bytes.size(); ++i) {
      const uint8_t c = static_cast<uint8_t>(bytes[i]);
      if ((c < 0x20 && c != '\t') || c == 0x7F) {
        const int column = CodePointColumn(bytes, static_cast<int>(i));
        out->Add(Code::kYamlEncoding, fmt::format("the control character \\x{:02x}", c),
                 {source, path, line, column, column + 1, ""});
        return false;
      }
    }
  }
  return true;
}

}  // namespace

const YamlNode* YamlNode::Find(std::string_view key) const {
  for (const YamlEntry& entry : entries)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

YamlPlace YamlNode::KeyPlace(std::string_view key) const {
  for (const YamlEntry& entry : entries)
    if (entry.key == key) return entry.key_place;
  return place;
}

Location YamlFile::At(const YamlPlace& place) const {
  return {source, source->path(), place.line, place.column, place.end_column, ""};
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): callers have a temporary at hand
std::optional<YamlFile> ParseYaml(std::string path, std::string text, Diagnostics* out) {
  const auto source = std::make_shared<const Source>(path, std::move(text));
  if (!GoodText(path, source->text(), source, out)) return std::nullopt;
  Builder builder(source, out);
  try {
    std::istringstream stream(source->text());
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder) || !builder.seen()) {
      out->Add(Code::kYamlEmpty, "the file is empty", {nullptr, path, 0, 0, 0, ""});
      return std::nullopt;
    }
    YamlFile file{source, builder.Take()};
    // At most twice: on some texts HandleNextDocument answers true for ever without moving.
    Diagnostics ignored;
    Builder rest(source, &ignored);
    bool more = false;
    try {
      more = parser.HandleNextDocument(rest);
    } catch (const Stop&) {
      more = true;
    }
    if (more) {
      const YamlNode second = rest.Take();
      const YamlPlace place = second.place.line > 0 ? second.place : YamlPlace{1, 1, 2};
      out->Add(Code::kYamlTrailing, "text after the end of the first value would be ignored",
               file.At(place))
          .Help("mend the indentation, or remove the second document");
      return std::nullopt;
    }
    if (file.root.kind == YamlNode::Kind::kNull) {
      out->Add(Code::kYamlEmpty, "the file is empty", {nullptr, path, 0, 0, 0, ""});
      return std::nullopt;
    }
    return file;
  } catch (const Stop&) {
  } catch (const YAML::DeepRecursion&) {
    out->Add(Code::kYamlLimit, fmt::format("more than {} levels", kYamlMaxDepth),
             {nullptr, path, 0, 0, 0, ""});
  } catch (const YAML::Exception& e) {
    AddSyntax(*source, e, builder.LocationOf(e.mark, 1), out);
  }
  return std::nullopt;
}

}  // namespace ferrule
