// The public face (racewalk/address_space.h): Linux's calls with typed errors.
#include "racewalk/address_space.h"

#include "mm/fork.h"
#include "mm/gup_check.h"
#include "mm/hostfs.h"
#include "mm/house_cpu.h"
#include "mm/memremap.h"
#include "mm/migrate.h"
#include "mm/mmap.h"
#include "mm/msync.h"
#include "mm/page_idle.h"
#include "mm/page_table_check.h"
#include "mm/swapfile.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- System ----------------------------------------------------------------------------------------------

System::System(std::uint64_t bytes, unsigned cpus, PageTableCheck check, std::uint64_t device_bytes,
               PinCheck pin_check)
    : machine_(bytes, cpus + HOUSE_CPUS, device_bytes),
      page_table_check_(check == PageTableCheck::on ? std::make_unique<page_table_check>(machine_) : nullptr),
      gup_check_(pin_check == PinCheck::on ? std::make_unique<gup_check>(machine_) : nullptr),
      pgmaps_(std::make_unique<pgmap_array>(machine_)), allocator_(machine_),
      hostfs_(std::make_unique<hostfs>()) {}

System::~System() {
  reclaim_.stop_kswapd();
  HouseCpu cpu(*this);
  hostfs_.reset();
}

io_fault_attr& System::fail_io() { return hostfs_->io.fail_io; }
io_fault_attr& System::fail_reserve() { return hostfs_->fail_reserve; }

void System::settle() {
  hostfs_->io.drain();
  rcu_barrier();
  {
    machine_scope machine(machine_);
    free_unused_swap_cache();
  }
  allocator_.frames().drain_all_pages();
}

// ---- AddressSpace ----------------------------------------------------------------------------------------

namespace {

int prot_of(Access access) {
  switch (access) {
  case Access::none:
    return PROT_NONE;
  case Access::read:
    return PROT_READ;
  case Access::read_write:
    break;
  }
  return PROT_READ | PROT_WRITE;
}

int map_type(Sharing sharing) { return sharing == Sharing::shared ? MAP_SHARED : MAP_PRIVATE; }

int flags_of(AddressSpace::Remap how) {
  switch (how) {
  case AddressSpace::Remap::in_place:
    return 0;
  case AddressSpace::Remap::may_move:
    return MREMAP_MAYMOVE;
  case AddressSpace::Remap::keep_old:
    break;
  }
  return MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
}

expected<void> outcome(int error) {
  if (error == 0) return {};
  return static_cast<std::errc>(-error);
}

expected<vaddr_t> mapped(long addr) {
  if (addr < 0) return static_cast<std::errc>(-addr);
  return static_cast<vaddr_t>(addr);
}

} // namespace

AddressSpace::AddressSpace(System& system) : system_(system), mm_(std::make_unique<mm_struct>()) {
  HouseCpu cpu(system_);
  outcome(mm_init(*mm_)).value();
  machine().thp->mms.enter(*mm_);
}

AddressSpace::~AddressSpace() {
  HouseCpu cpu(system_);
  exit_mmap(*mm_);
}

expected<vaddr_t> AddressSpace::mmap(std::uint64_t bytes, Access access) {
  HouseCpu cpu(system_);
  return mapped(vm_mmap(*mm_, 0, bytes, prot_of(access), MAP_PRIVATE | MAP_ANONYMOUS));
}

expected<vaddr_t> AddressSpace::mmap_fixed(vaddr_t at, std::uint64_t bytes, Access access) {
  HouseCpu cpu(system_);
  return mapped(vm_mmap(*mm_, at, bytes, prot_of(access), MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED));
}

expected<vaddr_t> AddressSpace::mmap(const File& file, std::uint64_t offset, std::uint64_t bytes,
                                     Sharing sharing, Access access) {
  HouseCpu cpu(system_);
  return mapped(vm_mmap_file(*mm_, 0, bytes, prot_of(access), map_type(sharing), file.opening(), offset));
}

expected<vaddr_t> AddressSpace::mmap_fixed(vaddr_t at, const File& file, std::uint64_t offset,
                                           std::uint64_t bytes, Sharing sharing, Access access) {
  HouseCpu cpu(system_);
  return mapped(
      vm_mmap_file(*mm_, at, bytes, prot_of(access), map_type(sharing) | MAP_FIXED, file.opening(), offset));
}

expected<void> AddressSpace::munmap(vaddr_t start, std::uint64_t bytes) {
  HouseCpu cpu(system_);
  return outcome(vm_munmap(*mm_, start, bytes));
}

expected<vaddr_t> AddressSpace::mremap(vaddr_t start, std::uint64_t old_bytes, std::uint64_t new_bytes,
                                       Remap how) {
  HouseCpu cpu(system_);
  return mapped(vm_mremap(*mm_, start, old_bytes, new_bytes, flags_of(how)));
}

expected<vaddr_t> AddressSpace::mremap_fixed(vaddr_t start, std::uint64_t old_bytes, std::uint64_t new_bytes,
                                             vaddr_t to) {
  HouseCpu cpu(system_);
  return mapped(vm_mremap(*mm_, start, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to));
}

expected<void> AddressSpace::mprotect(vaddr_t start, std::uint64_t bytes, Access access) {
  HouseCpu cpu(system_);
  return outcome(vm_mprotect(*mm_, start, bytes, prot_of(access)));
}

expected<void> AddressSpace::msync(vaddr_t start, std::uint64_t bytes, int flags) {
  HouseCpu cpu(system_);
  return outcome(vm_msync(*mm_, start, bytes, flags));
}

expected<void> AddressSpace::madvise(vaddr_t start, std::uint64_t bytes, Mergeable mergeable) {
  HouseCpu cpu(system_);
  return outcome(
      vm_madvise(*mm_, start, bytes, mergeable == Mergeable::yes ? MADV_MERGEABLE : MADV_UNMERGEABLE));
}

expected<void> AddressSpace::madvise(vaddr_t start, std::uint64_t bytes, HugePages huge) {
  HouseCpu cpu(system_);
  return outcome(vm_madvise(*mm_, start, bytes, huge == HugePages::yes ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
}

expected<void> AddressSpace::madvise(vaddr_t start, std::uint64_t bytes, int advice) {
  HouseCpu cpu(system_);
  return outcome(vm_madvise(*mm_, start, bytes, advice));
}

expected<void> AddressSpace::clear_refs() {
  HouseCpu cpu(system_);
  return outcome(racewalk::clear_refs(*mm_, clear_refs_t::soft_dirty));
}

expected<std::vector<PagemapEntry>> AddressSpace::pagemap(vaddr_t start, std::size_t pages) {
  static_assert(sizeof(PagemapEntry) == sizeof(u64));
  HouseCpu cpu(system_);
  std::vector<PagemapEntry> entries(pages);
  const int error = pagemap_read(*mm_, start, pages, pages == 0 ? nullptr : &entries.front().word);
  if (error != 0) return static_cast<std::errc>(-error);
  return entries;
}

expected<void> AddressSpace::mark_idle(vaddr_t start, std::size_t pages) {
  HouseCpu cpu(system_);
  return outcome(page_idle_set(*mm_, start, pages));
}

expected<std::vector<bool>> AddressSpace::idle(vaddr_t start, std::size_t pages) {
  HouseCpu cpu(system_);
  const auto idle = std::make_unique<bool[]>(pages);
  if (const int error = page_idle_get(*mm_, start, pages, idle.get())) return static_cast<std::errc>(-error);
  return std::vector<bool>(idle.get(), idle.get() + pages);
}

std::vector<std::errc> AddressSpace::move_pages(std::span<const vaddr_t> at) {
  HouseCpu cpu(system_);
  std::vector<std::errc> statuses;
  statuses.reserve(at.size());
  for (const vaddr_t addr : at)
    statuses.push_back(static_cast<std::errc>(-migrate_page_at(*mm_, addr)));
  return statuses;
}

expected<PinnedPages> AddressSpace::pin(vaddr_t start, std::size_t pages, Access access) {
  HouseCpu cpu(system_);
  std::vector<page*> pinned(pages);
  const gup_flags flags = access == Access::read_write ? FOLL_WRITE : FOLL_NONE;
  const long got = pin_user_pages_fast(*mm_, start, pages, flags, pinned.data());
  if (got < 0) return static_cast<std::errc>(-got);
  if (static_cast<std::size_t>(got) == pages) return PinnedPages(system_, std::move(pinned), access);
  unpin_user_pages(pinned.data(), static_cast<u64>(got));
  return std::errc::bad_address;
}

expected<std::unique_ptr<AddressSpace>> AddressSpace::fork() {
  HouseCpu cpu(system_);
  auto mm = std::make_unique<mm_struct>();
  if (const int error = mm_init(*mm)) return static_cast<std::errc>(-error);
  std::unique_ptr<AddressSpace> child(new AddressSpace(system_, std::move(mm)));
  if (const int error = dup_mmap(child->mm(), *mm_)) return static_cast<std::errc>(-error);
  machine().thp->mms.enter(child->mm()); // until now nobody else knew it
  return child;
}

// ---- PinnedPages -----------------------------------------------------------------------------------------

PinnedPages::~PinnedPages() {
  if (pages_.empty()) return;
  machine_scope machine(system_->machine());
  if (access_ == Access::read_write)
    unpin_user_pages_dirty_lock(pages_.data(), pages_.size());
  else
    unpin_user_pages(pages_.data(), pages_.size());
}

std::span<std::byte> PinnedPages::operator[](std::size_t n) const {
  machine_scope machine(system_->machine());
  return {static_cast<std::byte*>(page_address(pages_[n])), PAGE_SIZE};
}

// ---- CpuSession ------------------------------------------------------------------------------------------

CpuSession::CpuSession(System& system, unsigned id, AddressSpace& space)
    : binding_(system.machine(), id < system.cpus() ? id : NO_CPU), cpu_(this_cpu()) {
  switch_to(space);
}

CpuSession::~CpuSession() { cpu_.switch_mm(nullptr); }

void CpuSession::switch_to(AddressSpace& space) { cpu_.switch_mm(&space.mm().context); }

} // namespace racewalk::inline RACEWALK_BACKEND
