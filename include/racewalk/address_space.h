// Address spaces in user space: what a program that links the library includes.
//
//   racewalk::System system(1 << 30, 2);           // a machine: 1 GiB, 2 CPUs
//   racewalk::AddressSpace space(system);
//   std::jthread([&] {
//     racewalk::CpuSession cpu(system, 0, space);  // this thread is CPU 0 and runs in the space
//     auto at = space.mmap(1 << 20).value();
//     cpu->store<std::uint64_t>(at, 42);           // as a program's store: through the TLB, faulting pages
//     in auto pin = space.pin(at, 1).value();         // its memory stays, whatever becomes of the mapping
//   });
//
// Threads that use an address space are CPUs; mmap and its like may also be called by a thread that is none,
// at some cost. All functions may be called at any time by any number of threads, unless they say otherwise.
// What goes wrong is a value: the error of the system call of that name.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "machine/cpu.h"
#include "mm/gup.h"
#include "mm/mm_types.h"
#include "mm/page_alloc.h"
#include "mm/task_mmu.h"
#include "racewalk/expected.h"
#include "racewalk/huge_pages.h"
#include "racewalk/reclaim.h"

namespace racewalk::inline RACEWALK_BACKEND {

class hostfs;
struct gup_check;
struct io_fault_attr;
class page_table_check;
struct pgmap_array;

/// Whether each change of a page-table entry is checked against what maps its page already: the same memory
/// as anonymous and as a file's, twice for writing, or free while it is mapped, ends the program at the call
/// that makes it so (Linux's page_table_check=on).
enum class PageTableCheck : std::uint8_t { off, on };

/// Whether who gets pages by pin_user_pages() and get_user_pages() (mm/gup.h) is written down: a pin that
/// put_page() gives back, or a reference that unpin_user_page() does, ends the program and names both calls.
/// For programs that use these functions themselves; PinnedPages gives back what it has.
enum class PinCheck : std::uint8_t { off, on };

/// A machine and the allocator of its memory.
class System {
 public:
  /// `cpus`: how many threads can be CPUs at a time, 1 to 59. `device_bytes`: room for memory of devices
  /// (racewalk/device_memory.h), which comes on top. Throws std::bad_alloc or std::invalid_argument.
  System(std::uint64_t bytes, unsigned cpus, PageTableCheck check = PageTableCheck::off,
         std::uint64_t device_bytes = 0, PinCheck pin_check = PinCheck::off);
  /// Nothing is left that belongs to it: no AddressSpace, File, DeviceMemory, PinnedPages.
  ~System();
  System(const System&) = delete;
  System& operator=(const System&) = delete;

  [[nodiscard]] Machine& machine() { return machine_; }
  [[nodiscard]] unsigned cpus() const { return machine_.nr_cpus() - HOUSE_CPUS; }
  /// Frames that nobody uses. Exact once threads and their RCU callbacks are done: settle().
  [[nodiscard]] std::uint64_t free_frames() const { return allocator_.frames().nr_free(); }
  [[nodiscard]] std::uint64_t total_frames() const { return allocator_.frames().nr_frames(); }
  /// Waits until everything that has been given back so far is free. Not while this thread holds anything up.
  void settle();
  // Which allocations fail, for tests of what callers do then.
  /// Of frames and page tables.
  [[nodiscard]] fault_attr& fail_page_alloc() { return allocator_.frames().fail_page_alloc; }
  /// Of areas, tree nodes and the like.
  [[nodiscard]] fault_attr& failslab() { return allocator_.frames().failslab; }
  /// And which transfers from and to the host's files, with which error (mm/host_io_queue.h).
  [[nodiscard]] io_fault_attr& fail_io();
  /// And which reservations of room on their disk.
  [[nodiscard]] io_fault_attr& fail_reserve();
  /// How huge pages are used without being asked for.
  [[nodiscard]] TransparentHugePages& huge_pages() { return huge_pages_; }
  /// How memory is taken back when it is short.
  [[nodiscard]] Reclaim& reclaim() { return reclaim_; }

 private:
  friend class HouseCpu;
  friend class File;
  friend class Writeback;
  friend class Reclaim;
  Machine machine_;
  std::unique_ptr<page_table_check> page_table_check_; ///< null: nothing is checked
  std::unique_ptr<gup_check> gup_check_;               ///< null: nobody is written down
  std::unique_ptr<pgmap_array> pgmaps_;                ///< the devices' memory that is there
  page_allocator allocator_;
  /// CPUs for threads that are none: one each for userfaultfd handlers, khugepaged, writeback and kswapd, one
  /// for all other calls.
  static constexpr unsigned HOUSE_CPUS = 5;
  std::mutex house_cpu_[HOUSE_CPUS]; ///< held by the thread that is that CPU
  TransparentHugePages huge_pages_{*this};
  Reclaim reclaim_{*this};
  std::unique_ptr<hostfs> hostfs_; ///< the host's files that are open or mapped
};

enum class Access : std::uint8_t { none, read, read_write };
/// Whether stores go to the file and to all who map it, or to a copy of one's own.
enum class Sharing : std::uint8_t { shared, private_copy };

class File;

/// Pages that stay where they are, with their content, until this object goes away: also when their mapping
/// does. Those pinned for writing count as written then: what is a file's is written back.
class PinnedPages {
 public:
  PinnedPages(System& system, std::vector<page*> pages, Access access)
      : system_(&system), pages_(std::move(pages)), access_(access) {}
  PinnedPages(PinnedPages&& other) noexcept
      : system_(other.system_), pages_(std::exchange(other.pages_, {})), access_(other.access_) {}
  PinnedPages& operator=(PinnedPages&& other) noexcept {
    std::swap(system_, other.system_);
    std::swap(pages_, other.pages_);
    std::swap(access_, other.access_);
    return *this;
  }
  ~PinnedPages();

  [[nodiscard]] std::size_t size() const { return pages_.size(); }
  /// The memory of the nth page, PAGE_SIZE bytes, as a device would see it.
  [[nodiscard]] std::span<std::byte> operator[](std::size_t n) const;

 private:
  System* system_;
  std::vector<page*> pages_;
  Access access_;
};

/// What AddressSpace::pagemap() says about a page: a word of /proc/PID/pagemap.
struct PagemapEntry {
  std::uint64_t word = 0;
  [[nodiscard]] bool present() const { return (word & PM_PRESENT) != 0; }
  /// Swapped out, or on the move.
  [[nodiscard]] bool swapped() const { return (word & PM_SWAP) != 0; }
  /// Stored to, or mapped, since clear_refs().
  [[nodiscard]] bool soft_dirty() const { return (word & PM_SOFT_DIRTY) != 0; }
  /// Mapped here and nowhere else.
  [[nodiscard]] bool exclusive() const { return (word & PM_MMAP_EXCLUSIVE) != 0; }
  /// The frame's number; if it is present.
  [[nodiscard]] pfn_t pfn() const { return word & PM_PFRAME; }
};

class AddressSpace {
 public:
  /// Throws std::system_error if there is no memory.
  explicit AddressSpace(System& system);
  /// No CpuSession runs in it any more.
  ~AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  /// Memory that is zero, somewhere; each page takes a frame when it is first used.
  expected<vaddr_t> mmap(std::uint64_t bytes, Access access = Access::read_write);
  /// The same at an address of the caller's choice, in place of what was mapped there.
  expected<vaddr_t> mmap_fixed(vaddr_t at, std::uint64_t bytes, Access access = Access::read_write);
  /// Bytes [offset, offset + bytes) of a file, somewhere; `offset` is a multiple of the page size. Touching
  /// what lies beyond the end of the file is fault_result::sigbus. The file stays while it is mapped.
  expected<vaddr_t> mmap(const File& file, std::uint64_t offset, std::uint64_t bytes,
                         Sharing sharing = Sharing::shared, Access access = Access::read_write);
  /// The same at an address of the caller's choice, in place of what was mapped there.
  expected<vaddr_t> mmap_fixed(vaddr_t at, const File& file, std::uint64_t offset, std::uint64_t bytes,
                               Sharing sharing = Sharing::shared, Access access = Access::read_write);
  expected<void> munmap(vaddr_t start, std::uint64_t bytes);
  /// What mremap() may do with the old addresses.
  enum class Remap : std::uint8_t {
    in_place, ///< only make the mapping longer or shorter where it is
    may_move, ///< move it, if there is no room
    keep_old, ///< move it, and leave the old addresses mapped, with zeros; both lengths are the same
  };
  /// Makes a mapping of old_bytes one of new_bytes; its content goes where it goes. Returns where it is.
  expected<vaddr_t> mremap(vaddr_t start, std::uint64_t old_bytes, std::uint64_t new_bytes,
                           Remap how = Remap::may_move);
  /// The same to an address of the caller's choice, in place of what was mapped there.
  expected<vaddr_t> mremap_fixed(vaddr_t start, std::uint64_t old_bytes, std::uint64_t new_bytes, vaddr_t to);
  expected<void> mprotect(vaddr_t start, std::uint64_t bytes, Access access);
  /// What was stored to shared mappings of files in the range is on the disk. `flags`: those of <sys/mman.h>;
  /// MS_ASYNC leaves it to writeback in the background. not_enough_memory if a part is not mapped.
  expected<void> msync(vaddr_t start, std::uint64_t bytes, int flags = MS_SYNC);
  enum class HugePages : std::uint8_t { no, yes };
  /// Whether the memory is to be in huge pages where they fit, as far as System::huge_pages() allows.
  expected<void> madvise(vaddr_t start, std::uint64_t bytes, HugePages huge);
  enum class Mergeable : std::uint8_t { no, yes };
  /// Whether pages that hold the same may become one, which a PageMerger does (racewalk/page_merger.h).
  expected<void> madvise(vaddr_t start, std::uint64_t bytes, Mergeable mergeable);
  /// Any other advice, by its name in <sys/mman.h>: MADV_NORMAL, MADV_SEQUENTIAL, MADV_RANDOM and
  /// MADV_WILLNEED for files; MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_COLLAPSE. Errors as in
  /// Linux.
  expected<void> madvise(vaddr_t start, std::uint64_t bytes, int advice);

  /// From now on pages that are stored to become soft-dirty, and no others are. Fails where the architecture
  /// has no bit for it. What was stored while this was under way may be in either.
  expected<void> clear_refs();
  /// What is known of each of the pages from `start` on, which is the beginning of a page.
  expected<std::vector<PagemapEntry>> pagemap(vaddr_t start, std::size_t pages);

  /// From now on the pages that are mapped in the range are idle until they are used: by loads and stores, in
  /// whatever space, or by File::read() and write() (Linux's page_idle, by address). A huge page is used as a
  /// whole. invalid_argument: addresses that cannot be.
  expected<void> mark_idle(vaddr_t start, std::size_t pages);
  /// Which of them are idle still. What is not mapped is not.
  expected<std::vector<bool>> idle(vaddr_t start, std::size_t pages);

  /// Moves each page that one of the addresses is in to another frame, while who uses it waits; its content,
  /// rights and marks go with it. What came of each: errc{}, or Linux's: no_such_file_or_directory if nothing
  /// is there, bad_address if nothing can be, resource_unavailable_try_again if it is in use (pinned, being
  /// read), not_enough_memory, operation_not_supported for pages of files.
  std::vector<std::errc> move_pages(std::span<const vaddr_t> at);

  /// Pins the pages from the one that holds `start` on, for writing unless `access` is read. Fails if not all
  /// of them are mapped with that access. Faults them in if need be.
  expected<PinnedPages> pin(vaddr_t start, std::size_t pages, Access access = Access::read_write);

  /// Another address space of the same system with the same areas and the same memory: a page is copied when
  /// one of the two first stores to it, so that neither sees what the other stores from then on. Pages that
  /// are pinned stay this one's; the other has copies. Stores by other threads that are made meanwhile are in
  /// it or not. On error nothing has changed.
  expected<std::unique_ptr<AddressSpace>> fork();

  [[nodiscard]] System& system() { return system_; }
  /// The manager's own view, for those who use its functions (mm/mmap.h, mm/gup.h) directly.
  [[nodiscard]] mm_struct& mm() { return *mm_; }

 private:
  /// Takes over an mm that has been made usable.
  AddressSpace(System& system, std::unique_ptr<mm_struct> mm) : system_(system), mm_(std::move(mm)) {}

  System& system_;
  std::unique_ptr<mm_struct> mm_;
};

/// Makes the calling thread a CPU while it lives, running in an address space.
class CpuSession {
 public:
  /// Throws std::logic_error if the CPU does not exist or is taken, or the thread is a CPU already.
  CpuSession(System& system, unsigned id, AddressSpace& space);
  ~CpuSession();
  CpuSession(const CpuSession&) = delete;
  CpuSession& operator=(const CpuSession&) = delete;

  Cpu* operator->() { return &cpu_; }
  Cpu& operator*() { return cpu_; }
  /// Runs in another address space from now on.
  void switch_to(AddressSpace& space);

 private:
  cpu_binding binding_;
  Cpu& cpu_;
};

} // namespace racewalk::inline RACEWALK_BACKEND

#include "racewalk/file.h"
