// userfaultfd: faults that a handler of yours resolves.
//
//   racewalk::Userfaultfd uffd(space);
//   uffd.register_range(at, bytes, racewalk::Userfaultfd::MISSING).value();
//   std::jthread handler([&] {
//     while (const auto fault = uffd.read())            // until uffd.close()
//       uffd.copy(fault->address, page_of(fault->address)).value();
//   });
//   cpu->load<std::uint64_t>(at);                       // waits for the handler
//
// As on Linux, a thread that touches a registered page sleeps until the handler has filled it. A handler that
// never answers makes it sleep for ever; close(), the destructor and unregister_range() end that, and the
// access is made as if nothing had been registered.
//
// All functions may be called by any number of threads at any time, CPUs or not. Only calls of this class
// are sure to get through while a thread that is no CPU waits for the handler (in AddressSpace::pin()): a
// handler that also maps and unmaps is better a CPU itself.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "racewalk/address_space.h"
#include "racewalk/expected.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct userfaultfd_ctx;

class Userfaultfd {
 public:
  /// A page that somebody waits for.
  struct Fault {
    vaddr_t address;      ///< of the page
    bool write;           ///< it is to be written
    bool write_protected; ///< it is there and write_protect()ed
    bool minor;           ///< the file has it, and it is not mapped; neither: it is missing
  };
  /// What of a range is reported; sums are allowed.
  enum Mode : std::uint8_t {
    MISSING = 1,       ///< pages that are not there
    WRITE_PROTECT = 2, ///< stores to pages that are write_protect()ed
    MINOR = 4,         ///< pages that a File of memory has and that are not mapped here
  };
  /// What to do instead of waiting: nothing, or fail the access with fault_result::sigbus.
  enum class Unhandled : std::uint8_t { wait, sigbus };
  enum class Wake : std::uint8_t { no, yes };
  enum class Wait : std::uint8_t { no, yes };

  /// The space must outlive it.
  explicit Userfaultfd(AddressSpace& space, Unhandled unhandled = Unhandled::wait);
  /// close(). No other call is under way.
  ~Userfaultfd();
  Userfaultfd(const Userfaultfd&) = delete;
  Userfaultfd& operator=(const Userfaultfd&) = delete;

  // Addresses and lengths are in bytes and whole pages, else: invalid_argument. After close() all of them
  // fail: bad_file_descriptor.

  /// Reports faults of the range, all or part of which is mapped: anonymous memory, or a File of memory.
  /// invalid_argument: nothing of it is mapped, or that kind of memory has no such mode, or the architecture
  /// cannot write-protect so; operation_not_permitted: it is shared and its File may not be written;
  /// device_or_resource_busy: another Userfaultfd has a part of it; not_enough_memory. Registered again, it
  /// gets the new mode.
  expected<void> register_range(vaddr_t start, std::uint64_t bytes, Mode mode);
  /// Ends that, and wakes who waits there. invalid_argument: nothing of it is mapped, or another Userfaultfd
  /// has a part of it.
  expected<void> unregister_range(vaddr_t start, std::uint64_t bytes);

  /// The next fault that has not been read. resource_unavailable_try_again: there is none, and it is not to
  /// wait.
  expected<Fault> read(Wait wait = Wait::yes);
  /// A file descriptor to poll(2) for reading: readable while there are faults to read, or it is closed. It
  /// is this object's.
  expected<int> fd();

  /// Fills the pages from `at` on with `content`, whole pages of it, and wakes who waits for them. How many
  /// bytes it has filled: fewer than all if something was in the way after the first page. file_exists: a
  /// page is there already, or the File that is mapped shared has one (whoever waits for it is not woken:
  /// wake()); bad_address: the File ends before; no_such_file_or_directory: it is not
  /// all registered here; not_enough_memory.
  expected<std::uint64_t> copy(vaddr_t at, std::span<const std::byte> content, Wake wake = Wake::yes);
  /// The same, and the pages are write-protected from the start.
  expected<std::uint64_t> copy_protected(vaddr_t at, std::span<const std::byte> content,
                                         Wake wake = Wake::yes);
  /// The same as copy() with zeros.
  expected<std::uint64_t> zeropage(vaddr_t at, std::uint64_t bytes, Wake wake = Wake::yes);

  /// Maps the pages that the File has, and wakes who waits for them: the answer to a minor fault, once the
  /// content is right. As copy(), but bad_address: the File does not have the page; invalid_argument: no
  /// File.
  expected<std::uint64_t> continue_range(vaddr_t at, std::uint64_t bytes, Wake wake = Wake::yes);

  /// Write-protects the pages of the range: stores to them are reported. In anonymous memory those that are
  /// there; of a File also those that come later. no_such_file_or_directory: it is not all registered for
  /// WRITE_PROTECT; not_enough_memory.
  expected<void> write_protect(vaddr_t start, std::uint64_t bytes);
  /// Ends that, and wakes who waits to store.
  expected<void> write_unprotect(vaddr_t start, std::uint64_t bytes, Wake wake = Wake::yes);

  /// Wakes who waits for pages of the range: they make their access again.
  expected<void> wake(vaddr_t start, std::uint64_t bytes);

  /// Unregisters everything and wakes everybody: readers with bad_file_descriptor.
  void close();

 private:
  template <class Call> auto call(Call&& operation);

  AddressSpace& space_;
  std::unique_ptr<userfaultfd_ctx> ctx_;
};

constexpr Userfaultfd::Mode operator|(Userfaultfd::Mode a, Userfaultfd::Mode b) {
  return static_cast<Userfaultfd::Mode>(unsigned{a} | unsigned{b});
}

} // namespace racewalk::inline RACEWALK_BACKEND
