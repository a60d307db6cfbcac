// userfaultfd: a handler in user space resolves the faults of registered areas (M26).
//
// A fault that the area's registration covers puts an event into the context and sleeps; a handler reads the
// event, fills the page (UFFDIO_COPY, UFFDIO_ZEROPAGE), grants the store (UFFDIO_WRITEPROTECT), and wakes who
// waits for it. Constants and errors are those of <linux/userfaultfd.h>.
//
// What is kept true:
//  - No wake-up is lost. A fault queues itself first and looks at the entry again after that; who changes the
//    entry does so first and wakes those in the queue after that. Both use fault_lock in between: one of the
//    two sees the other.
//  - No event is lost. An event stays in the queue until somebody reads it or wakes the one who waits, and
//    the file descriptor is readable exactly while there are events that nobody has read.
//  - Nobody waits for a context that is gone: areas lose it under their locks, which queueing faults hold;
//    then everybody is woken; then userfaultfd_release() waits until they have left.
//  - A page that is write-protected here has an entry without the right to store and with its uffd-wp bit,
//    and keeps both through mprotect() and through being moved. Where a file is mapped, a page that is not
//    there has a marker instead, which the entry that replaces it honours: so a table with markers is not
//    empty.
//
// A CPU waits for one fault at a time, so the queue has a place for each CPU.
#pragma once

#include <linux/userfaultfd.h>

#include "mm/mm_types.h"
#include "mm/pgalloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// The events of one userfaultfd. Lives as long as an area refers to it or a fault uses it: see
/// userfaultfd_release().
struct userfaultfd_ctx {
  /// `features`: of UFFD_FEATURE_*, those that userfaultfd_features() has.
  explicit userfaultfd_ctx(mm_struct& owner, u64 wanted_features = 0)
      : mm(owner), features(wanted_features) {}
  userfaultfd_ctx(const userfaultfd_ctx&) = delete;
  userfaultfd_ctx& operator=(const userfaultfd_ctx&) = delete;

  /// What becomes of a fault that waits: PENDING, then REPORTED, then 0; or 0 at once.
  static constexpr u32 WAITS = 1;
  static constexpr u32 PENDING = WAITS;
  static constexpr u32 REPORTED = WAITS | 2;
  /// A CPU's place in the queue. All but `state`, on which the CPU sleeps, is guarded by fault_lock.
  struct userfault_wait {
    shared<u32> state;   ///< changes under fault_lock
    plain<u64> turn;     ///< events are read in this order
    plain<vaddr_t> addr; ///< of the page
    plain<u64> flags;    ///< UFFD_PAGEFAULT_FLAG_*
  };

  mm_struct& mm;
  const u64 features;
  spinlock_t fault_lock;
  userfault_wait waits[MAX_CPUS];
  plain<u64> next_turn;
  /// Events that nobody has read; CLOSED once the context is released. Changes under fault_lock; readers
  /// sleep on it.
  shared<u32> unread;
  static constexpr u32 CLOSED = 1U << 31;
  atomic_t users;   ///< faults that are in it; the context is not freed under them
  int poll_fd = -1; ///< an eventfd that is readable while there are unread events; -1: nobody polls
};

/// The features of UFFD_FEATURE_* that there are.
constexpr u64 userfaultfd_features() { return UFFD_FEATURE_SIGBUS; }

inline bool userfaultfd_missing(const vm_area_struct& vma, site s = RW_HERE) {
  return (vma.vm_flags.get(s) & VM_UFFD_MISSING) != 0;
}
inline bool userfaultfd_wp(const vm_area_struct& vma, site s = RW_HERE) {
  return (vma.vm_flags.get(s) & VM_UFFD_WP) != 0;
}
inline bool userfaultfd_minor(const vm_area_struct& vma, site s = RW_HERE) {
  return (vma.vm_flags.get(s) & VM_UFFD_MINOR) != 0;
}
inline bool userfaultfd_armed(const vm_area_struct& vma, site s = RW_HERE) {
  return (vma.vm_flags.get(s) & VM_UFFD_FLAGS) != 0;
}

// ---- the side that faults --------------------------------------------------------------------------------

/// Reports a fault of an area that is registered for `reason` (one of VM_UFFD_*) and sleeps until it is
/// resolved. Caller holds the area's lock for reading (vm_lock if flags have FAULT_FLAG_VMA_LOCK, else the
/// region's mmap_lock) and no other.
///
/// fault_result::retry: that lock has been dropped. sigbus: the caller cannot wait, or the handler wants
/// none; the lock is still held.
fault_result handle_userfault(vm_area_struct& vma, vaddr_t addr, fault_flags flags, vm_flags_t reason);

// ---- the handler's side ----------------------------------------------------------------------------------

// All of them: caller holds no lock of the mm. All but userfaultfd_read() and userfaultfd_poll_fd(): is a
// CPU.

/// Faults in the areas of [start, start + len) are reported from now on; `mode` is of
/// UFFDIO_REGISTER_MODE_*. 0; -EINVAL for a mode or range that cannot be, or a kind of memory or an
/// architecture that does not have it: anonymous memory has MISSING and WP, files made of memory (shmem) all
/// three; -EPERM for a file that may not be written; -EBUSY if an area has another context; -ENOMEM.
int userfaultfd_register(userfaultfd_ctx& ctx, vaddr_t start, u64 len, u64 mode);
/// Ends that, gives write access back, and wakes who waits there. 0; -EINVAL, also if an area has another
/// context; -ENOMEM.
int userfaultfd_unregister(userfaultfd_ctx& ctx, vaddr_t start, u64 len);

enum class uffd_wait : bool { no, yes };
/// The next event. 0; -EAGAIN if there is none and it is not to wait; -EBADF once the context is released.
int userfaultfd_read(userfaultfd_ctx& ctx, uffd_msg* msg, uffd_wait wait);

/// Fills [dst, dst + len) with copies of `src`, which the caller can read; then wakes who waits there, unless
/// UFFDIO_COPY_MODE_DONTWAKE. UFFDIO_COPY_MODE_WP: the pages are write-protected.
///
/// Returns how many bytes are done, which is fewer than len if something was in the way, or if nothing is
/// done a negative errno: -EINVAL; -ENOENT if it is not one area that has this context; -EEXIST where a page
/// is, mapped or, if the mapping is shared, in the file; -EFAULT beyond the end of the file; -EAGAIN if the
/// page table changed under way; -ENOMEM.
s64 mfill_atomic_copy(userfaultfd_ctx& ctx, vaddr_t dst, const std::byte* src, u64 len, u64 mode);
/// The same with zeros; `mode` is of UFFDIO_ZEROPAGE_MODE_*. They are pages of their own: there is no shared
/// zero page.
s64 mfill_atomic_zeropage(userfaultfd_ctx& ctx, vaddr_t dst, u64 len, u64 mode);

/// Maps the pages that the file has at [dst, dst + len), after a fault that was reported as minor; `mode` is
/// of UFFDIO_CONTINUE_MODE_*. As mfill_atomic_copy(), but -EINVAL in anonymous memory and -EFAULT for a page
/// that the file does not have.
s64 mfill_atomic_continue(userfaultfd_ctx& ctx, vaddr_t dst, u64 len, u64 mode);

/// Write-protects the pages of [start, start + len), in anonymous memory those that are there, or gives the
/// right back and wakes who waits for it; `mode` is of UFFDIO_WRITEPROTECT_MODE_*. 0; -EINVAL; -ENOENT if it
/// is not all registered for it with this context; -ENOMEM.
int mwriteprotect_range(userfaultfd_ctx& ctx, vaddr_t start, u64 len, u64 mode);

/// Wakes who waits for pages of [start, start + len). 0 or -EINVAL.
int userfaultfd_wake(userfaultfd_ctx& ctx, vaddr_t start, u64 len);

/// Closes it: unregisters everything, wakes everybody, and waits until they have left. On return nobody uses
/// the context any more, but callers of userfaultfd_read() that find it closed.
void userfaultfd_release(userfaultfd_ctx& ctx);

/// Native only: a file descriptor to poll for reading, the context's own. Negative errno if there is none to
/// be had.
int userfaultfd_poll_fd(userfaultfd_ctx& ctx);

} // namespace racewalk::inline RACEWALK_BACKEND
