// A fibre that can be dropped anywhere: its stack is simply used again. What runs on it must own nothing that
// a destructor would have to release.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

namespace racewalk::explore {

/// A stack above memory that nobody may touch: who runs over its end is stopped there.
class fibre_stack {
 public:
  static constexpr std::size_t BYTES = std::size_t{256} * 1024; // costs what of it is used
  static constexpr std::size_t GUARD = std::size_t{64} * 1024;  // frames are smaller

  fibre_stack() = default;
  ~fibre_stack();
  fibre_stack(const fibre_stack&) = delete;
  fibre_stack& operator=(const fibre_stack&) = delete;

  /// Its upper end; the memory is there from the first call on. Throws std::bad_alloc.
  std::byte* top();
  /// Is this where the memory ends?
  bool overflown_at(const void* p) const;

 private:
  std::byte* base_ = nullptr; ///< of what nobody may touch
};

class fibre {
 public:
  using entry = void (*)(void* arg);

  /// Forgets whatever ran before and starts at `fn(arg)` on the next resume(). `fn` never returns: it ends by
  /// suspending for good.
  void reset(entry fn, void* arg) {
    fn_ = fn;
    arg_ = arg;
    context_ = boost::context::detail::make_fcontext(stack_.top(), fibre_stack::BYTES, &start);
  }
  /// Runs the fibre until it suspends.
  void resume() { context_ = boost::context::detail::jump_fcontext(context_, this).fctx; }
  /// Back to who resumed this fibre; called on it, or by a signal handler that interrupted it for good.
  void suspend() { caller_ = boost::context::detail::jump_fcontext(caller_, nullptr).fctx; }

  const fibre_stack& stack() const { return stack_; }
  fibre_stack& stack() { return stack_; }

 private:
  static void start(boost::context::detail::transfer_t from) {
    auto* self = static_cast<fibre*>(from.data);
    self->caller_ = from.fctx;
    self->fn_(self->arg_);
  }

  fibre_stack stack_;
  boost::context::detail::fcontext_t context_ = nullptr;
  boost::context::detail::fcontext_t caller_ = nullptr;
  entry fn_ = nullptr;
  void* arg_ = nullptr;
};

} // namespace racewalk::explore
