// SPDX-License-Identifier: Apache-2.0
// A value or the reason why there is none. Nothing in ferrule throws across a public function.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace ferrule {

// Who has to act. The numbers are the exit codes of the command line and never move.
enum class Blame {
  kFile = 1,     // a rule file, config.json, header or request is wrong: its author
  kCommand = 2,  // a wrong command line or a named path that does not exist: the caller
  kMachine = 3,  // I/O, memory or a bug: the operator
};

struct Error {
  Blame blame = Blame::kFile;
  std::string message;  // complete text, ready to print; may have several lines
};

template <typename T>
class Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  // INVARIANT: call only when ok().
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  // INVARIANT: call only when !ok().
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

}  // namespace ferrule
