#include "mm/userfaultfd.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "arch/swapops.h"
#include "machine/cpu.h"
#include "mm/filemap.h"
#include "mm/highmem.h"
#include "mm/huge_memory.h"
#include "mm/memory.h"
#include "mm/mprotect.h"
#include "mm/rmap.h"
#include "mm/shmem.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- the queue -------------------------------------------------------------------------------------------

namespace {

/// Keeps the file descriptor as readable as there are events. Caller holds fault_lock.
void set_unread(userfaultfd_ctx& ctx, u32 now) {
  const u32 before = READ_ONCE(ctx.unread);
  WRITE_ONCE(ctx.unread, now);
  if (ctx.poll_fd < 0 || (before == 0) == (now == 0)) return;
  // neither can fail: the count is 0 or 1, and changes nowhere else
  eventfd_t count = 0;
  (void)(now != 0 ? eventfd_write(ctx.poll_fd, 1) : eventfd_read(ctx.poll_fd, &count));
}

u64 msg_flags(fault_flags flags, vm_flags_t reason) {
  return ((flags & FAULT_FLAG_WRITE) != 0 ? u64{UFFD_PAGEFAULT_FLAG_WRITE} : 0) |
         (reason == VM_UFFD_WP ? u64{UFFD_PAGEFAULT_FLAG_WP} : 0) |
         (reason == VM_UFFD_MINOR ? u64{UFFD_PAGEFAULT_FLAG_MINOR} : 0);
}

userfaultfd_ctx::userfault_wait& queue_fault(userfaultfd_ctx& ctx, vaddr_t addr, u64 flags) {
  userfaultfd_ctx::userfault_wait& wait = ctx.waits[smp_processor_id()];
  {
    spin_guard lock(ctx.fault_lock);
    wait.addr.set(addr);
    wait.flags.set(flags);
    wait.turn.set(ctx.next_turn.get());
    ctx.next_turn.set(wait.turn.get() + 1);
    WRITE_ONCE(wait.state, userfaultfd_ctx::PENDING);
    set_unread(ctx, READ_ONCE(ctx.unread) + 1);
  }
  wake_up_all(ctx.unread);
  return wait;
}

/// Takes a fault out of the queue, whoever has read it. Caller holds fault_lock.
void unqueue_fault(userfaultfd_ctx& ctx, userfaultfd_ctx::userfault_wait& wait) {
  const u32 state = READ_ONCE(wait.state);
  if (state == 0) return;
  if (state == userfaultfd_ctx::PENDING) set_unread(ctx, READ_ONCE(ctx.unread) - 1);
  WRITE_ONCE(wait.state, 0U);
}

/// Wakes who waits for pages of [start, end). Comes after the change that they wait for.
void wake_userfault(userfaultfd_ctx& ctx, vaddr_t start, vaddr_t end) {
  for (unsigned cpu = 0; cpu < machine().nr_cpus(); ++cpu) {
    userfaultfd_ctx::userfault_wait& wait = ctx.waits[cpu];
    {
      // pairs with queue_fault(): who is not in the queue yet will look at the entry after this
      spin_guard lock(ctx.fault_lock);
      if (READ_ONCE(wait.state) == 0 || wait.addr.get() < start || wait.addr.get() >= end) continue;
      unqueue_fault(ctx, wait);
    }
    wake_up_all(wait.state);
  }
}

} // namespace

// ---- the side that faults --------------------------------------------------------------------------------

namespace {

/// Is the reason for a fault still there? Asked without locks, once the fault is in the queue. A spurious yes
/// is harmless: the event is read.
bool userfaultfd_must_wait(const mm_struct& mm, vaddr_t addr, vm_flags_t reason) {
  const pmd_lookup at = find_pmd(mm, addr);
  if (!at.found) return true;
  const pte_map table(at.pmdp);
  if (!table) return pmd_none(table.pmd());
  const pte_t pte = ptep_get_lockless(table.at(addr));
  return pte_none_mostly(pte) || (reason == VM_UFFD_WP && pte_present(pte) && pte_uffd_wp(pte));
}

void release_fault_lock(vm_area_struct& vma, vaddr_t addr, fault_flags flags) NO_THREAD_SAFETY_ANALYSIS {
  if ((flags & FAULT_FLAG_VMA_LOCK) != 0)
    up_read(vma.vm_lock);
  else
    up_read(vma.vm_mm->existing_region(addr)->mmap_lock);
}

} // namespace

fault_result handle_userfault(vm_area_struct& vma, vaddr_t addr, fault_flags flags, vm_flags_t reason) {
  userfaultfd_ctx& ctx = *vma.vm_userfaultfd_ctx.get();
  if ((flags & FAULT_FLAG_ALLOW_RETRY) == 0 || (ctx.features & UFFD_FEATURE_SIGBUS) != 0)
    return fault_result::sigbus;
  atomic_inc(ctx.users); // while the area's lock keeps the context: pairs with userfaultfd_release()
  userfaultfd_ctx::userfault_wait& wait = queue_fault(ctx, addr, msg_flags(flags, reason));
  // In the queue first, then the look: pairs with the change of the entry and then wake_userfault().
  const bool must_wait =
      !policy().uffd_rechecks_when_queued || userfaultfd_must_wait(*vma.vm_mm, addr, reason);
  release_fault_lock(vma, addr, flags);
  if (must_wait) {
    wait_while(wait.state, userfaultfd_ctx::WAITS, userfaultfd_ctx::WAITS);
  } else {
    spin_guard lock(ctx.fault_lock);
    unqueue_fault(ctx, wait);
  }
  // the last touch of the context
  if (atomic_dec_and_test(ctx.users)) wake_up_all(ctx.users);
  return fault_result::retry;
}

// ---- registering -----------------------------------------------------------------------------------------

namespace {

/// Whether a range is one that calls on it may have.
bool validate_range(vaddr_t start, u64 len) {
  const vaddr_t limit = geometry().address_limit();
  return (start & ~PAGE_MASK) == 0 && (len & ~PAGE_MASK) == 0 && len != 0 && start < limit &&
         len <= limit - start;
}

constexpr u64 REGISTER_MODES =
    UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MINOR;

vm_flags_t registered_flags(u64 mode) {
  return ((mode & UFFDIO_REGISTER_MODE_MISSING) != 0 ? VM_UFFD_MISSING : VM_NONE) |
         ((mode & UFFDIO_REGISTER_MODE_WP) != 0 ? VM_UFFD_WP : VM_NONE) |
         ((mode & UFFDIO_REGISTER_MODE_MINOR) != 0 ? VM_UFFD_MINOR : VM_NONE);
}

bool vma_can_userfault(const vm_area_struct& vma, u64 mode) {
  return vma_is_shmem(vma) || (vma_is_anonymous(vma) && (mode & UFFDIO_REGISTER_MODE_MINOR) == 0);
}
/// A handler fills holes of the file whether or not the area may be written; the file itself must be.
bool vma_may_write(const vm_area_struct& vma) {
  return (vma.vm_flags.get() & VM_SHARED) == 0 || vma.vm_file.get() == nullptr ||
         vma.vm_file.get()->writable();
}

/// Takes the protection away from what was write-protected in the area, which loses that registration.
/// Caller holds vm_lock for writing.
void clear_uffd_wp(vm_area_struct& vma) {
  mmu_gather tlb(*vma.vm_mm);
  tlb_gather_mmu(tlb);
  change_protection(tlb, vma.vm_start.get(), vma.vm_end.get(), {}, cp_flags::uffd_wp_resolve);
  tlb_finish_mmu(tlb);
}

/// Gives an area another registration. Caller holds the region's mmap_lock for writing.
void set_registration(vm_area_struct& vma, userfaultfd_ctx* ctx, vm_flags_t flags) {
  write_guard vm_lock(vma.vm_lock); // no fault by the old registration after this
  const bool wp_ends = userfaultfd_wp(vma) && (flags & VM_UFFD_WP) == 0;
  {
    write_guard anon_vma(vma.vm_mm->existing_region(vma.vm_start.get())->anon_vma_lock);
    vma.vm_flags.set((vma.vm_flags.get() & ~VM_UFFD_FLAGS) | flags);
    vma.vm_userfaultfd_ctx.set(ctx);
  }
  const u64 bars = uffd_bars(flags);
  atomic_and(vma.bars, bars | BIT(VMA_HAS_ANON));
  atomic_or(vma.bars, bars);
  if (wp_ends) clear_uffd_wp(vma);
}

/// Calls visit(vma) for each area of the range that is locked.
template <class F> void for_each_locked_vma(const regions_guard& regions, F&& visit) {
  regions.for_each([&](mmap_region& region, vaddr_t start, vaddr_t end) {
    for_each_vma(region, start, end, [&](vm_area_struct& vma) { visit(vma); });
  });
}

/// Whether a range has areas, and what is true of one of them.
struct range_areas {
  bool any = false;
  bool others = false;   ///< it has another context
  bool unfit = false;    ///< it is of a kind that does not have the mode
  bool readonly = false; ///< it is of a file that may not be written
};
range_areas areas_of(const regions_guard& regions, const userfaultfd_ctx& ctx, u64 mode) {
  range_areas areas;
  for_each_locked_vma(regions, [&](const vm_area_struct& vma) {
    const userfaultfd_ctx* owner = vma.vm_userfaultfd_ctx.get();
    areas.any = true;
    areas.others = areas.others || (owner != nullptr && owner != &ctx);
    areas.unfit = areas.unfit || !vma_can_userfault(vma, mode);
    areas.readonly = areas.readonly || !vma_may_write(vma);
  });
  return areas;
}

/// Joins what has become alike in the range that is locked.
void merge_locked(const regions_guard& regions) { regions.for_each(merge_vmas_in); }

void release_region(const userfaultfd_ctx& ctx, mmap_region& region) {
  write_guard mmap_lock(region.mmap_lock);
  for_each_vma(region, region.start, region.end, [&](vm_area_struct& vma) {
    if (vma.vm_userfaultfd_ctx.get() == &ctx) set_registration(vma, nullptr, VM_NONE);
  });
  merge_vmas_in(region, region.start, region.end);
}

} // namespace

int userfaultfd_register(userfaultfd_ctx& ctx, vaddr_t start, u64 len, u64 mode) {
  if (mode == 0 || (mode & ~REGISTER_MODES) != 0 || !validate_range(start, len)) return -EINVAL;
  if ((mode & UFFDIO_REGISTER_MODE_WP) != 0 && !pte_has_uffd_wp()) return -EINVAL;
  regions_guard regions(ctx.mm, start, start + len);
  if (!regions.ok()) return -ENOMEM;
  const range_areas areas = areas_of(regions, ctx, mode);
  if (!areas.any || areas.unfit) return -EINVAL;
  if (areas.readonly) return -EPERM;
  if (areas.others) return -EBUSY;
  if (const int error = split_at_ends(regions, start, start + len)) return error;
  for_each_locked_vma(regions,
                      [&](vm_area_struct& vma) { set_registration(vma, &ctx, registered_flags(mode)); });
  // The registration, then what its owner sees to be missing: pairs with the barrier in isolate_range() of
  // collapse_file.cc.
  smp_mb();
  merge_locked(regions);
  return 0;
}

int userfaultfd_unregister(userfaultfd_ctx& ctx, vaddr_t start, u64 len) {
  if (!validate_range(start, len)) return -EINVAL;
  {
    regions_guard regions(ctx.mm, start, start + len);
    if (!regions.ok()) return -ENOMEM;
    const range_areas areas = areas_of(regions, ctx, 0);
    if (!areas.any || areas.others) return -EINVAL;
    if (const int error = split_at_ends(regions, start, start + len)) return error;
    for_each_locked_vma(regions, [](vm_area_struct& vma) {
      if (userfaultfd_armed(vma)) set_registration(vma, nullptr, VM_NONE);
    });
    merge_locked(regions);
  }
  wake_userfault(ctx, start, start + len);
  return 0;
}

void userfaultfd_release(userfaultfd_ctx& ctx) {
  const vaddr_t limit = geometry().address_limit();
  const u64 region_size = geometry().size(geometry().root_level());
  for (vaddr_t start = 0; start < limit; start += region_size)
    if (mmap_region* region = ctx.mm.existing_region(start)) release_region(ctx, *region);
  // Faults queue under the lock of an area that has the context. No area has it any more, so all that will
  // ever wait are in the queue.
  wake_userfault(ctx, 0, limit);
  {
    spin_guard lock(ctx.fault_lock);
    set_unread(ctx, userfaultfd_ctx::CLOSED);
  }
  wake_up_all(ctx.unread);
  // pairs with the last touch in handle_userfault()
  while (const s32 left = atomic_read(ctx.users))
    wait_while(ctx.users, -1, left);
}

// ---- events ----------------------------------------------------------------------------------------------

namespace {

/// The event that was queued first of those that nobody has read, or null. Caller holds fault_lock.
userfaultfd_ctx::userfault_wait* first_pending(userfaultfd_ctx& ctx) {
  userfaultfd_ctx::userfault_wait* first = nullptr;
  for (unsigned cpu = 0; cpu < machine().nr_cpus(); ++cpu) {
    userfaultfd_ctx::userfault_wait& wait = ctx.waits[cpu];
    if (READ_ONCE(wait.state) == userfaultfd_ctx::PENDING &&
        (first == nullptr || wait.turn.get() < first->turn.get()))
      first = &wait;
  }
  return first;
}

/// As userfaultfd_read(), without waiting.
int read_event(userfaultfd_ctx& ctx, uffd_msg* msg) {
  spin_guard lock(ctx.fault_lock);
  const u32 unread = READ_ONCE(ctx.unread);
  if (unread == userfaultfd_ctx::CLOSED) return -EBADF;
  if (unread == 0) return -EAGAIN;
  userfaultfd_ctx::userfault_wait& wait = *first_pending(ctx);
  *msg = {};
  msg->event = UFFD_EVENT_PAGEFAULT;
  msg->arg.pagefault.flags = wait.flags.get();
  msg->arg.pagefault.address = wait.addr.get();
  WRITE_ONCE(wait.state, userfaultfd_ctx::REPORTED);
  set_unread(ctx, unread - 1);
  return 0;
}

} // namespace

int userfaultfd_read(userfaultfd_ctx& ctx, uffd_msg* msg, uffd_wait wait) {
  for (;;) {
    const int error = read_event(ctx, msg);
    if (error != -EAGAIN || wait == uffd_wait::no) return error;
    wait_while(ctx.unread, ~0U, 0U);
  }
}

int userfaultfd_wake(userfaultfd_ctx& ctx, vaddr_t start, u64 len) {
  if (!validate_range(start, len)) return -EINVAL;
  wake_userfault(ctx, start, start + len);
  return 0;
}

int userfaultfd_poll_fd(userfaultfd_ctx& ctx) {
  spin_guard lock(ctx.fault_lock);
  if (ctx.poll_fd >= 0) return ctx.poll_fd;
  const int fd = eventfd(READ_ONCE(ctx.unread) != 0 ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return -errno;
  ctx.poll_fd = fd;
  return fd;
}

// ---- filling pages ---------------------------------------------------------------------------------------

namespace {

/// The area at an address, locked for reading, as a fault locks it.
class SCOPED_CAPABILITY locked_vma {
 public:
  locked_vma(mm_struct& mm, vaddr_t addr) NO_THREAD_SAFETY_ANALYSIS : vma_(lock_vma(mm, addr)) {
    if (vma_ != nullptr) return;
    region_ = mm.existing_region(addr);
    if (region_ == nullptr) return;
    down_read(region_->mmap_lock);
    vma_ = region_->areas.find_vma(addr);
    if (vma_ != nullptr && !vma_->contains(addr)) vma_ = nullptr;
  }
  ~locked_vma() NO_THREAD_SAFETY_ANALYSIS {
    if (region_ != nullptr)
      up_read(region_->mmap_lock);
    else if (vma_ != nullptr)
      up_read(vma_->vm_lock);
  }
  locked_vma(const locked_vma&) = delete;
  locked_vma& operator=(const locked_vma&) = delete;

  explicit operator bool() const { return vma_ != nullptr; }
  vm_area_struct& operator*() const { return *vma_; }

 private:
  vm_area_struct* vma_;
  mmap_region* region_ = nullptr; ///< locked instead of the area
};

enum class mfill : u8 { copy, zeropage, page_of_file };

/// What pages are filled with.
struct mfill_source {
  mfill what;
  const std::byte* bytes; ///< to copy
  bool write_protect;     ///< the entries get their uffd-wp bit

  /// For the pages so many bytes further on.
  [[nodiscard]] mfill_source advanced(u64 by) const {
    return {what, what == mfill::copy ? bytes + by : nullptr, write_protect};
  }
};

page* mfill_alloc(const mfill_source& source) {
  if (source.what == mfill::zeropage) return alloc_page(GFP_ZERO);
  page* page = alloc_page(GFP_KERNEL);
  if (page != nullptr) copy_to_highpage(page, source.bytes);
  return page;
}

enum class page_in_cache : bool { no, yes };

/// Whether a page of the area's file, or a private copy of it, can still be mapped. With the folio lock, or
/// the ptl for what is private, truncation comes before or after.
bool beyond_end_of_file(const vm_area_struct& vma, vaddr_t addr) {
  return vma.vm_file.get() != nullptr &&
         linear_page_index(vma, addr) >= i_size_pages(*vma.vm_file.get()->f_inode);
}

pte_t mfill_entry(const vm_area_struct& vma, const page* page, bool write_protect, page_in_cache cached) {
  pte_t entry = pte_mkdirty(mk_pte(page_to_pfn(page), vm_page_prot(vma)));
  // a page of the file behind a private mapping is copied before it is stored to
  const bool private_view = cached == page_in_cache::yes && (vma.vm_flags.get() & VM_SHARED) == 0;
  if ((vma.vm_flags.get() & VM_WRITE) != 0 && !private_view) entry = pte_mkwrite(entry);
  return write_protect ? pte_mkuffd_wp(entry) : entry;
}

/// Puts a filled page behind an entry that is none or a marker. Caller holds the area's lock, and the folio
/// lock of a page that is in the cache. The reference goes to the entry; on failure it stays the caller's.
int mfill_atomic_install_pte(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, page* page,
                             bool write_protect, page_in_cache cached) {
  folio* folio = page_folio(page);
  const pte_t entry = mfill_entry(vma, page, write_protect, cached);
  if (!vma_is_anonymous(vma) && cached == page_in_cache::no) vma_set_bar(vma, VMA_HAS_ANON);
  {
    const pte_map_lock table(pmdp);
    if (!table) return -EAGAIN; // it has been taken away: the next try finds what is there now
    if (beyond_end_of_file(vma, addr)) return -EFAULT;
    if (!pte_none_mostly(ptep_get(table.at(addr)))) return -EEXIST;
    if (cached == page_in_cache::yes)
      folio_add_rmap_pte(page);
    else
      folio_add_new_anon_rmap(folio, vma, addr);
    smp_wmb(); // as in do_anonymous_page(): pairs with gup_fast_pte_range() and user accesses
    set_pte_at(addr, table.at(addr), entry);
  }
  add_mm_counter(*vma.vm_mm, cached == page_in_cache::yes ? mm_counter_file(folio) : MM_ANONPAGES, 1);
  return 0;
}

/// The page of zeros, where nothing is.
int mfill_atomic_pte_zeropage(const vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp) {
  pgprot_t prot = vm_page_prot(vma);
  prot.write = false;
  const pte_map_lock table(pmdp);
  if (!table) return -EAGAIN; // as mfill_atomic_install_pte()
  if (!pte_none(ptep_get(table.at(addr)))) return -EEXIST;
  set_pte_at(addr, table.at(addr), pte_mkspecial(mk_pte(ZERO_PFN, prot)));
  return 0;
}

/// Anonymous memory, also in a private mapping of a file: nobody asks the page cache.
int mfill_atomic_pte_private(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp,
                             const mfill_source& source) {
  if (source.what == mfill::zeropage && vma_is_anonymous(vma))
    return mfill_atomic_pte_zeropage(vma, addr, pmdp);
  page* page = mfill_alloc(source);
  if (page == nullptr) return -ENOMEM;
  const int error = mfill_atomic_install_pte(vma, addr, pmdp, page, source.write_protect, page_in_cache::no);
  if (error != 0) put_page(page);
  return error;
}

/// A new page of the file, in the cache and mapped, or neither.
int shmem_mfill_atomic_pte(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp,
                           const mfill_source& source) {
  if (beyond_end_of_file(vma, addr)) return -EFAULT;
  page* page = mfill_alloc(source);
  if (page == nullptr) return -ENOMEM;
  folio* folio = page_folio(page);
  atomic_or(page->flags, BIT(PG_swapbacked) | BIT(PG_uptodate));
  int error = filemap_add_folio(vma.vm_file.get()->mapping(), folio, linear_page_index(vma, addr));
  if (error != 0) {
    put_page(page);
    return error;
  }
  // The folio lock, then the size: as in read_mapping_folio(), truncation finds the folio or is seen here.
  error = mfill_atomic_install_pte(vma, addr, pmdp, page, source.write_protect, page_in_cache::yes);
  if (error == 0)
    folio_mark_dirty(folio);
  else
    filemap_remove_folio(folio);
  folio_unlock(folio);
  if (error != 0) put_page(page);
  return error;
}

/// The page that the file has.
int mfill_atomic_pte_continue(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, bool write_protect) {
  if (!vma_is_shmem(vma)) return -EINVAL;
  const u64 index = linear_page_index(vma, addr);
  const filemap_result found = read_mapping_folio(vma.vm_file.get()->mapping(), index, fgp::no_creat);
  if (found.folio == nullptr) return found.error == -ENOMEM ? -ENOMEM : -EFAULT;
  const int error = mfill_atomic_install_pte(vma, addr, pmdp, folio_file_page(found.folio, index),
                                             write_protect, page_in_cache::yes);
  if (error == 0) folio_mark_dirty(found.folio);
  folio_unlock(found.folio);
  if (error != 0) folio_put(found.folio);
  return error;
}

int mfill_atomic_pte(vm_area_struct& vma, vaddr_t addr, const mfill_source& source) {
  mm_struct& mm = *vma.vm_mm;
  const pmd_lookup at = pmd_alloc(mm, addr);
  if (!at.found) return -ENOMEM;
  if (pmd_none(pmdp_get_lockless(at.pmdp)) && !pte_alloc(mm, at.pmdp)) return -ENOMEM;
  const pmd_t pmd = pmdp_get_lockless(at.pmdp);
  if (!pmd_none(pmd) && !pmd_is_table(pmd)) return -EEXIST; // a huge page, perhaps one that is on its way
  if (source.what == mfill::page_of_file)
    return mfill_atomic_pte_continue(vma, addr, at.pmdp, source.write_protect);
  return (vma.vm_flags.get() & VM_SHARED) != 0 ? shmem_mfill_atomic_pte(vma, addr, at.pmdp, source)
                                               : mfill_atomic_pte_private(vma, addr, at.pmdp, source);
}

/// The part of one region. Returns how many bytes are done; `*error` says what was in the way of the others.
u64 mfill_in_region(userfaultfd_ctx& ctx, vaddr_t dst, u64 len, const mfill_source& source, int* error) {
  const locked_vma vma(ctx.mm, dst);
  *error = -ENOENT;
  if (!vma || (*vma).vm_userfaultfd_ctx.get() != &ctx || len > (*vma).vm_end.get() - dst) return 0;
  *error = -EINVAL;
  if (source.write_protect && !userfaultfd_wp(*vma)) return 0;
  *error = 0;
  for (u64 done = 0; done < len; done += PAGE_SIZE) {
    *error = mfill_atomic_pte(*vma, dst + done, source.advanced(done));
    if (*error != 0) return done;
  }
  return len;
}

s64 mfill_atomic(userfaultfd_ctx& ctx, vaddr_t dst, u64 len, const mfill_source& source, bool wake) {
  if (!validate_range(dst, len)) return -EINVAL;
  const u64 region_size = geometry().size(geometry().root_level());
  u64 done = 0;
  int error = 0;
  while (done < len && error == 0) {
    const vaddr_t at = dst + done;
    const u64 here = std::min(len - done, region_size - at % region_size);
    done += mfill_in_region(ctx, at, here, source.advanced(done), &error);
  }
  if (done > 0 && wake) wake_userfault(ctx, dst, dst + done);
  return done > 0 ? static_cast<s64>(done) : error;
}

} // namespace

s64 mfill_atomic_copy(userfaultfd_ctx& ctx, vaddr_t dst, const std::byte* src, u64 len, u64 mode) {
  if ((mode & ~u64{UFFDIO_COPY_MODE_DONTWAKE | UFFDIO_COPY_MODE_WP}) != 0) return -EINVAL;
  const mfill_source source{mfill::copy, src, (mode & UFFDIO_COPY_MODE_WP) != 0};
  return mfill_atomic(ctx, dst, len, source, (mode & UFFDIO_COPY_MODE_DONTWAKE) == 0);
}

s64 mfill_atomic_zeropage(userfaultfd_ctx& ctx, vaddr_t dst, u64 len, u64 mode) {
  if ((mode & ~u64{UFFDIO_ZEROPAGE_MODE_DONTWAKE}) != 0) return -EINVAL;
  return mfill_atomic(ctx, dst, len, {mfill::zeropage, nullptr, false},
                      (mode & UFFDIO_ZEROPAGE_MODE_DONTWAKE) == 0);
}

s64 mfill_atomic_continue(userfaultfd_ctx& ctx, vaddr_t dst, u64 len, u64 mode) {
  if ((mode & ~u64{UFFDIO_CONTINUE_MODE_DONTWAKE}) != 0) return -EINVAL;
  return mfill_atomic(ctx, dst, len, {mfill::page_of_file, nullptr, false},
                      (mode & UFFDIO_CONTINUE_MODE_DONTWAKE) == 0);
}

// ---- write-protecting ------------------------------------------------------------------------------------

namespace {

/// Where the areas of [start, end) that are registered for write protection end. Caller holds the region's
/// mmap_lock.
vaddr_t registered_wp_end(const userfaultfd_ctx& ctx, const mmap_region& region, vaddr_t start, vaddr_t end) {
  while (start < end) {
    const vm_area_struct* vma = region.areas.find_vma(start);
    if (vma == nullptr || vma->vm_start.get() > start || !userfaultfd_wp(*vma) ||
        vma->vm_userfaultfd_ctx.get() != &ctx)
      return start;
    start = vma->vm_end.get();
  }
  return end;
}

int uffd_wp_range(vm_area_struct& vma, vaddr_t start, vaddr_t end, bool protect) {
  mm_struct& mm = *vma.vm_mm;
  // a page's bit stands in its own entry
  for (vaddr_t addr = start; addr < end; addr = pmd_addr_end(addr, end)) {
    const pmd_lookup at = find_pmd(mm, addr);
    if (at.found && is_huge_or_migration(pmdp_get_lockless(at.pmdp))) split_huge_pmd(vma, addr, at.pmdp);
  }
  mmu_notifier_invalidation notify(mm, mmu_notifier_event::protection_vma, start, end);
  mmu_gather tlb(mm);
  tlb_gather_mmu(tlb);
  const cp_flags wp = vma_is_anonymous(vma) ? cp_flags::uffd_wp : cp_flags::uffd_wp_file;
  const int error = change_protection(tlb, start, end, {}, protect ? wp : cp_flags::uffd_wp_resolve);
  tlb_finish_mmu(tlb);
  return error;
}

/// The part of one region.
int mwriteprotect_in_region(const userfaultfd_ctx& ctx, mmap_region& region, vaddr_t start, vaddr_t end,
                            bool protect) {
  read_guard mmap_lock(region.mmap_lock); // faults go on; areas and their registrations stay
  if (registered_wp_end(ctx, region, start, end) != end) return -ENOENT;
  int error = 0;
  for_each_vma(region, start, end, [&](vm_area_struct& vma) {
    if (error == 0)
      error =
          uffd_wp_range(vma, std::max(start, vma.vm_start.get()), std::min(end, vma.vm_end.get()), protect);
  });
  return error;
}

} // namespace

int mwriteprotect_range(userfaultfd_ctx& ctx, vaddr_t start, u64 len, u64 mode) {
  const bool protect = (mode & UFFDIO_WRITEPROTECT_MODE_WP) != 0;
  const bool dontwake = (mode & UFFDIO_WRITEPROTECT_MODE_DONTWAKE) != 0;
  if ((mode & ~u64{UFFDIO_WRITEPROTECT_MODE_WP | UFFDIO_WRITEPROTECT_MODE_DONTWAKE}) != 0 ||
      (protect && dontwake) || !validate_range(start, len))
    return -EINVAL;
  const u64 region_size = geometry().size(geometry().root_level());
  for (vaddr_t from = start, to; from < start + len; from = to) {
    to = std::min(start + len, (from & ~(region_size - 1)) + region_size);
    mmap_region* region = ctx.mm.existing_region(from);
    const int error = region == nullptr ? -ENOENT : mwriteprotect_in_region(ctx, *region, from, to, protect);
    if (error != 0) return error;
  }
  if (!protect && !dontwake) wake_userfault(ctx, start, start + len);
  return 0;
}

} // namespace racewalk::inline RACEWALK_BACKEND
