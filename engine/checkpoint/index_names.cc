// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/index_names.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace ferrule {
namespace {

// Names tried before a name is looked up: the other tensors of one linear stand between two
// weights.
constexpr size_t kAhead = 4;

}  // namespace

IndexNames::IndexNames(const IndexFile& index, std::string_view text)
    : index_(index), text_(text), tensor_of_(index.names.size(), kNone) {
  for (size_t i = 0; i < index.names.size(); ++i)
    paths_.Add(index.names[i], static_cast<int32_t>(i));
  agrees_ = paths_.Seal().empty();
}

bool IndexNames::Plain(int32_t position) const {
  const char* const at = name(position).data();
  return !std::less<>()(at, text_.data()) && std::less<>()(at, text_.data() + text_.size());
}

int32_t IndexNames::Next(JsonScan* scan) {
  const size_t end = std::min(index_.names.size(), next_ + kAhead);
  for (size_t i = next_; i < end; ++i) {
    const int32_t position = static_cast<int32_t>(i);
    if (!Plain(position) || !scan->KeyIs(name(position))) continue;
    next_ = i + 1;
    return position;
  }
  return kNone;
}

int32_t IndexNames::Find(std::string_view name) {
  const int32_t position = paths_.At(name);
  if (position >= 0) next_ = static_cast<size_t>(position) + 1;
  return position;
}

void IndexNames::Fill(int32_t position, uint32_t file, size_t tensor) {
  int32_t& filled = tensor_of_[static_cast<size_t>(position)];
  agrees_ = agrees_ && filled == kNone && index_.file_of[static_cast<size_t>(position)] == file;
  filled = static_cast<int32_t>(tensor);
  ++filled_;
}

PathTable IndexNames::Release() {
  paths_.Renumber(tensor_of_);
  return std::move(paths_);
}

}  // namespace ferrule
