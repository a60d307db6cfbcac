// The public face (racewalk/userfaultfd.h): the calls of userfaultfd(2) with typed errors.
#include "racewalk/userfaultfd.h"

#include <unistd.h>

#include "mm/house_cpu.h"
#include "mm/userfaultfd.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

static_assert(Userfaultfd::MISSING == UFFDIO_REGISTER_MODE_MISSING);
static_assert(Userfaultfd::WRITE_PROTECT == UFFDIO_REGISTER_MODE_WP);
static_assert(Userfaultfd::MINOR == UFFDIO_REGISTER_MODE_MINOR);

expected<void> outcome(int error) {
  if (error == 0) return {};
  return static_cast<std::errc>(-error);
}

expected<std::uint64_t> bytes_done(s64 done) {
  if (done < 0) return static_cast<std::errc>(-done);
  return static_cast<std::uint64_t>(done);
}

} // namespace

/// Makes a call as a CPU, unless it is closed.
template <class Call> auto Userfaultfd::call(Call&& operation) {
  HouseCpu cpu(space_.system(), house_call::userfaultfd);
  using outcome_t = decltype(operation(*ctx_));
  return READ_ONCE(ctx_->unread) == userfaultfd_ctx::CLOSED ? outcome_t{-EBADF} : operation(*ctx_);
}

Userfaultfd::Userfaultfd(AddressSpace& space, Unhandled unhandled)
    : space_(space), ctx_(std::make_unique<userfaultfd_ctx>(
                         space.mm(), unhandled == Unhandled::sigbus ? UFFD_FEATURE_SIGBUS : u64{0})) {}

Userfaultfd::~Userfaultfd() {
  close();
  if (ctx_->poll_fd >= 0) ::close(ctx_->poll_fd);
}

void Userfaultfd::close() {
  HouseCpu cpu(space_.system(), house_call::userfaultfd);
  userfaultfd_release(*ctx_);
}

expected<void> Userfaultfd::register_range(vaddr_t start, std::uint64_t bytes, Mode mode) {
  return outcome(call([&](userfaultfd_ctx& ctx) { return userfaultfd_register(ctx, start, bytes, mode); }));
}

expected<void> Userfaultfd::unregister_range(vaddr_t start, std::uint64_t bytes) {
  return outcome(call([&](userfaultfd_ctx& ctx) { return userfaultfd_unregister(ctx, start, bytes); }));
}

expected<Userfaultfd::Fault> Userfaultfd::read(Wait wait) {
  machine_scope machine(space_.system().machine());
  uffd_msg msg;
  const uffd_wait how = wait == Wait::yes ? uffd_wait::yes : uffd_wait::no;
  if (const int error = userfaultfd_read(*ctx_, &msg, how)) return static_cast<std::errc>(-error);
  const u64 flags = msg.arg.pagefault.flags;
  return Fault{.address = msg.arg.pagefault.address,
               .write = (flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0,
               .write_protected = (flags & UFFD_PAGEFAULT_FLAG_WP) != 0,
               .minor = (flags & UFFD_PAGEFAULT_FLAG_MINOR) != 0};
}

expected<int> Userfaultfd::fd() {
  const int fd = userfaultfd_poll_fd(*ctx_);
  if (fd < 0) return static_cast<std::errc>(-fd);
  return fd;
}

expected<std::uint64_t> Userfaultfd::copy(vaddr_t at, std::span<const std::byte> content, Wake wake) {
  return bytes_done(call([&](userfaultfd_ctx& ctx) {
    return mfill_atomic_copy(ctx, at, content.data(), content.size(),
                             wake == Wake::yes ? 0 : UFFDIO_COPY_MODE_DONTWAKE);
  }));
}

expected<std::uint64_t> Userfaultfd::copy_protected(vaddr_t at, std::span<const std::byte> content,
                                                    Wake wake) {
  return bytes_done(call([&](userfaultfd_ctx& ctx) {
    return mfill_atomic_copy(ctx, at, content.data(), content.size(),
                             UFFDIO_COPY_MODE_WP | (wake == Wake::yes ? 0 : UFFDIO_COPY_MODE_DONTWAKE));
  }));
}

expected<std::uint64_t> Userfaultfd::zeropage(vaddr_t at, std::uint64_t bytes, Wake wake) {
  return bytes_done(call([&](userfaultfd_ctx& ctx) {
    return mfill_atomic_zeropage(ctx, at, bytes, wake == Wake::yes ? 0 : UFFDIO_ZEROPAGE_MODE_DONTWAKE);
  }));
}

expected<std::uint64_t> Userfaultfd::continue_range(vaddr_t at, std::uint64_t bytes, Wake wake) {
  return bytes_done(call([&](userfaultfd_ctx& ctx) {
    return mfill_atomic_continue(ctx, at, bytes, wake == Wake::yes ? 0 : UFFDIO_CONTINUE_MODE_DONTWAKE);
  }));
}

expected<void> Userfaultfd::write_protect(vaddr_t start, std::uint64_t bytes) {
  return outcome(call([&](userfaultfd_ctx& ctx) {
    return mwriteprotect_range(ctx, start, bytes, UFFDIO_WRITEPROTECT_MODE_WP);
  }));
}

expected<void> Userfaultfd::write_unprotect(vaddr_t start, std::uint64_t bytes, Wake wake) {
  return outcome(call([&](userfaultfd_ctx& ctx) {
    return mwriteprotect_range(ctx, start, bytes, wake == Wake::yes ? 0 : UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
  }));
}

expected<void> Userfaultfd::wake(vaddr_t start, std::uint64_t bytes) {
  return outcome(call([&](userfaultfd_ctx& ctx) { return userfaultfd_wake(ctx, start, bytes); }));
}

} // namespace racewalk::inline RACEWALK_BACKEND
