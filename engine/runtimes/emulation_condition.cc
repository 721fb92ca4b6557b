// SPDX-License-Identifier: Apache-2.0
// The tests of a runtime file. What hangs on a pattern that RE2 cannot express stays unknown, and
// the answer is only unknown when it hangs on that.
#include <algorithm>

#include "engine/runtimes/emulation_state.h"

namespace ferrule {
namespace {

Truth Of(bool holds) { return holds ? Truth::kYes : Truth::kNo; }

}  // namespace

Truth Emulator::Holds(const Test& test, const Frame& frame) {
  using Kind = Test::Kind;
  switch (test.kind) {
    case Kind::kListed:
      return Listed(test, frame);
    case Kind::kFused:
      return Of(!FindFused(frame).empty());
    case Kind::kName:
      return Of(test.text.Holds(frame.name));
    case Kind::kLeaf:
      return Of(test.text.Holds(LastSegment(frame.name)));
    case Kind::kLayer:
      return Of(test.text.Holds(frame.layer));
    case Kind::kText:
      return Of(test.text.Holds(Fill(test.name, frame)));
    case Kind::kNot: {
      const Truth inner = Holds(test.tests[0], frame);
      return inner == Truth::kYes ? Truth::kNo : inner == Truth::kNo ? Truth::kYes : inner;
    }
    case Kind::kSays:
      return Says(test, frame);
    case Kind::kGiven:
      return Of(!List(test.name, frame).empty());
    case Kind::kPresent:
      return Of(question_.lists.count(test.name) > 0);
    case Kind::kFlag:
      return Of(frame.flags->count(test.name) > 0 || question_.flags.count(test.name) > 0 ||
                question_.absent.count(test.name) > 0);
    case Kind::kSamePart:
      return Of(frame.name == frame.whole);
    case Kind::kAll:
    case Kind::kAny:
    case Kind::kEach:
      break;
  }
  // All: the first `no` decides. Any: the first `yes`.
  const Truth decides = test.kind == Kind::kAny ? Truth::kYes : Truth::kNo;
  Truth all = decides == Truth::kYes ? Truth::kNo : Truth::kYes;
  const size_t count = test.kind == Kind::kEach ? test.by.size() : test.tests.size();
  for (size_t i = 0; i < count; ++i) {
    Frame inner = frame;
    if (test.kind == Kind::kEach) inner.name = ReplaceEvery(frame.name, test.replaced, test.by[i]);
    const Truth one = Holds(test.tests[test.kind == Kind::kEach ? 0 : i], inner);
    if (one == decides) return one;
    if (one == Truth::kRaised) return all == Truth::kUnknown ? all : one;
    if (one == Truth::kUnknown) all = one;
  }
  return all;
}

Truth Emulator::Listed(const Test& test, const Frame& frame) {
  const QuestionList& list = List(test.name.empty() ? "list" : test.name, frame);
  const auto& rules = test.match.empty() ? frame.function->match : test.match;
  Truth all = Truth::kNo;
  const Asked asked = AskedBy(rules, frame);
  const Places places = ToAsk(rules, asked, list, frame);
  for (size_t i = 0; i < places.size(); ++i) {
    const QuestionEntry& entry = list[places[i]];
    if (test.only && !test.only->Holds(entry.text)) continue;
    const Truth one = Names(rules, asked, entry.text, frame);
    if (one == Truth::kRaised) return all == Truth::kUnknown && !test.exhaustive ? all : one;
    if (one == Truth::kYes && !test.exhaustive) return one;
    if (one == Truth::kYes || (one == Truth::kUnknown && all == Truth::kNo)) all = one;
  }
  return all;
}

Truth Emulator::Says(const Test& test, const Frame& frame) {
  const Decision answer = Call(test.name, frame, frame.name, frame.map);
  if (!answer) return Truth::kNo;
  if (answer->result == "unsupported") return Truth::kUnknown;
  if (answer->is_error()) return error_ = answer->error, Truth::kRaised;
  return Of(answer->result == test.result);
}

}  // namespace ferrule
