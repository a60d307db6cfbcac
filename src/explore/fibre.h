// A fibre that can be dropped anywhere: its stack is simply used again. What runs on it must own nothing that
// a destructor would have to release.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <memory>

namespace racewalk::explore {

class fibre {
 public:
  using entry = void (*)(void* arg);

  /// Forgets whatever ran before and starts at `fn(arg)` on the next resume(). `fn` never returns: it ends by
  /// suspending for good.
  void reset(entry fn, void* arg) {
    fn_ = fn;
    arg_ = arg;
    if (!stack_) stack_ = std::make_unique<std::byte[]>(STACK);
    context_ = boost::context::detail::make_fcontext(stack_.get() + STACK, STACK, &start);
  }
  /// Runs the fibre until it suspends.
  void resume() { context_ = boost::context::detail::jump_fcontext(context_, this).fctx; }
  /// Back to who resumed this fibre; called on it.
  void suspend() { caller_ = boost::context::detail::jump_fcontext(caller_, nullptr).fctx; }

 private:
  static constexpr std::size_t STACK = 64 * 1024;

  static void start(boost::context::detail::transfer_t from) {
    auto* self = static_cast<fibre*>(from.data);
    self->caller_ = from.fctx;
    self->fn_(self->arg_);
  }

  std::unique_ptr<std::byte[]> stack_;
  boost::context::detail::fcontext_t context_ = nullptr;
  boost::context::detail::fcontext_t caller_ = nullptr;
  entry fn_ = nullptr;
  void* arg_ = nullptr;
};

} // namespace racewalk::explore
