// SPDX-License-Identifier: Apache-2.0
// The names of an index while the headers are read: each header entry takes the name it has in the
// index, so that names are neither copied nor looked for twice.
//
// Headers list the tensors of a file in nearly the order of the index; what comes next is tried
// first, everything else is looked up.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/checkpoint/index_file.h"
#include "engine/checkpoint/path_table.h"
#include "engine/text/json_scan.h"

namespace ferrule {

class IndexNames {
 public:
  static constexpr int32_t kNone = -1;

  // `text`: what `index` was read from. Both must outlive this.
  IndexNames(const IndexFile& index, std::string_view text);

  // Which name of the index stands next in `scan` as a key, which is then consumed; kNone, and
  // nothing consumed, when it is none of those expected.
  int32_t Next(JsonScan* scan);
  // Position of a name in the index; kNone when it is not there.
  int32_t Find(std::string_view name);
  std::string_view name(int32_t position) const {
    return index_.names[static_cast<size_t>(position)];
  }
  // The tensor with the name at `position` is the `tensor`-th of all and in `file`.
  void Fill(int32_t position, uint32_t file, size_t tensor);
  // A tensor that is not in the index.
  void Unlisted() { agrees_ = false; }

  // Whether every name stands once in the index and once in the headers, in the file it should be
  // in. When not, look for what is wrong.
  bool Agrees() const { return agrees_ && filled_ == index_.names.size(); }
  // When they agree: names → tensors.
  PathTable Release();

 private:
  // In the text of the index as it would stand in a header.
  bool Plain(int32_t position) const;

  const IndexFile& index_;
  std::string_view text_;
  PathTable paths_;
  std::vector<int32_t> tensor_of_;  // by position in the index; kNone: not read yet
  size_t filled_ = 0;
  size_t next_ = 0;  // behind the position that was asked for last
  bool agrees_ = true;
};

}  // namespace ferrule
