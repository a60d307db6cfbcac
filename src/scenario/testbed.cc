#include "racewalk/testbed.h"

#include <span>

#include "mm/anon_vma.h"
#include "mm/collapse_file.h"
#include "mm/filemap.h"
#include "mm/pgalloc.h"
#include "mm/rmap.h"
#include "mm/swapfile.h"
#include "scenario/hex.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// 2 MiB, and as much again for each eight CPUs: each of them has pages set aside for what it may allocate.
constexpr u64 memory_of(unsigned cpus) { return (u64{2} << 20) * (1 + cpus / 8); }

void require(bool done, const char* what) {
  if (!done) throw setup_violation("SCENARIO", what);
}

} // namespace

testbed::testbed(unsigned cpus, unsigned devices, u64 device_bytes)
    : machine(memory_of(cpus + devices), cpus, device_bytes), devices_(devices),
      allocator_(machine, 2 * (cpus + devices) * EXPLORED_ALLOCATIONS_PER_THREAD) {
  pages_[ZERO_PFN] = "zeros";
  names.name = [this](const void* a) { return name_of(a); };
  names.object = [this](const void* frame) {
    return page_label(static_cast<u64>(static_cast<const std::byte*>(frame) - machine.frames()) >>
                      PAGE_SHIFT);
  };
  names.value = [this](const void* a, u64 v) { return value_of(a, v); };
  names.address = [](vaddr_t va) { return hex(va); };
  names.place = [this](const void* a) { return place_of(a); };
  names.read = [this](const void* a, u64 v) { return reading_of(a, v); };
  names.landmarks = [this] { return landmarks(); };
}

testbed::~testbed() = default;

void testbed::cpu(std::function<void()> body, int twin) {
  require(program.threads.size() < machine.nr_cpus(), "there are more bodies than CPUs");
  program.threads.push_back(std::move(body));
  program.twins.push_back(twin);
}

void testbed::device(std::function<void()> body) {
  const std::size_t before = program.threads.size();
  require(before >= machine.nr_cpus(), "a device comes before a CPU");
  require(before < machine.nr_cpus() + devices_, "there are more bodies than devices");
  program.threads.push_back(std::move(body));
  program.twins.push_back(-1);
}

mm_struct& testbed::new_mm() {
  mm_struct& mm = mms_.emplace_back();
  mm.context.ctx_id = mms_.size();
  mm.context.fault = do_user_addr_fault;
  require(pgd_alloc(mm), "no frame for a root table");
  return mm;
}

vm_area_struct& testbed::new_area(mm_struct& mm, vaddr_t start, u64 bytes, vm_flags_t flags) {
  mmap_region* region = mm.region(start);
  vm_area_struct* vma = region->vm_area_alloc(mm);
  vma->vm_start.set(start);
  vma->vm_end.set(start + bytes);
  vma->vm_pgoff.set(start >> PAGE_SHIFT);
  vma->vm_flags.set(flags | VM_SOFTDIRTY); // as mmap() has it
  vma->attached.set(true);
  require(region->areas.preallocate(), "no memory for an area");
  region->areas.insert(*vma);
  areas_.push_back(vma);
  require(region->areas.preallocate(), "no memory for what a body maps or cuts");
  return *vma;
}

namespace {

int read_disk_pages(address_space& mapping, u64 index, page* const* pages, unsigned nr) {
  auto& on = static_cast<disk_inode&>(mapping.host);
  for (unsigned i = 0; i < nr; ++i)
    WRITE_ONCE(page_words(pages[i])[0], READ_ONCE(on.disk[index + i]));
  return 0;
}

void write_disk_pages(address_space& mapping, std::span<page_io> pages) {
  auto& on = static_cast<disk_inode&>(mapping.host);
  for (const page_io& io : pages)
    WRITE_ONCE(on.disk[io.index], READ_ONCE(page_words(io.content)[0]));
}

constexpr address_space_operations DISK_OPERATIONS{.read_pages = read_disk_pages,
                                                   .write_pages = write_disk_pages};

} // namespace

disk_inode::disk_inode() {
  i_data.a_ops = &DISK_OPERATIONS;
  i_data.tracks_dirty = true;
}

file& testbed::new_disk_file(u64 pages) {
  require(pages <= disk_inode::MAX_PAGES, "the disk is too small for the file");
  return open(disk_inodes_.emplace_back(), pages);
}

page* testbed::dirty_page_of(mm_struct& mm, file& f) {
  map_file(mm, 0, PAGE_SIZE, f, 0, VM_READ | VM_WRITE | VM_SHARED);
  touch(mm, 0, FAULT_FLAG_WRITE, "p");
  page* dirty = page_at(mm, 0);
  folio_get(page_folio(dirty));
  return dirty;
}

void testbed::unmap_page_of(mm_struct& mm, file& f) {
  unmap_region(mm, whole_table(0));
  f.mapping().i_mmap.remove(mm.region(0)->areas.lookup(0)->i_mmap_node);
}

u64 testbed::on_disk(const file& f, u64 index) {
  return READ_ONCE(static_cast<const disk_inode&>(*f.f_inode).disk[index]);
}

u64 testbed::read_back(const file& f, u64 index) {
  const xa_entry entry = f.mapping().i_pages.load(index);
  if (entry.is_folio()) return READ_ONCE(page_words(folio_page(entry.folio(), 0))[0]);
  return on_disk(f, index);
}

/// A swap file whose slots have a word each; slot 0 is never used.
struct swap_disk : swap_info {
  std::array<word_t, 1 + testbed::MAX_SLOTS> words;

  static u64 read(swap_info& swap, u64 slot, std::span<folio* const> folios) {
    for (folio* folio : folios)
      WRITE_ONCE(page_words(&folio->page)[0], READ_ONCE(static_cast<swap_disk&>(swap).words[slot++]));
    return folios.size();
  }
  static void write(swap_info& swap, std::span<swap_run> runs) {
    for (swap_run& run : runs)
      for (folio* folio : run.folios)
        WRITE_ONCE(static_cast<swap_disk&>(swap).words[run.slot + run.done++],
                   READ_ONCE(page_words(&folio->page)[0]));
  }
};

namespace {
constexpr swap_operations SWAP_DISK_OPERATIONS{.read = swap_disk::read, .write = swap_disk::write};
} // namespace

void testbed::new_swap(unsigned slots) {
  require(slots <= MAX_SLOTS, "the swap file is too small");
  swap_ = std::make_unique<swap_disk>();
  machine.swap = swap_.get();
  describe(&swap_->lock, "swap_lock");
  spin_guard guard(swap_->lock);
  swap_->ops = &SWAP_DISK_OPERATIONS;
  swap_->max = 1 + slots;
  swap_->slots = std::make_unique<swap_info::slot[]>(swap_->max);
  swap_->next.set(1);
  swap_->writeok = true;
  swap_->on = true;
  describe(&swap_->inuse, "slots_in_use");
  describe(&swap_->next, "next_slot");
  describe(&swap_->cached, "slots_cached");
  for (unsigned n = 1; n <= slots; ++n) {
    const swap_info::slot& s = swap_->slots[n];
    const std::string name = "slot" + std::to_string(n);
    describe(&swap_->words[n], name + ".disk");
    describe(&s.count, name + ".count");
    describe(&s.folio, name + ".folio");
    describe(&s.mapping, name + ".mapping");
    describe(&s.index, name + ".index");
  }
}

u64 testbed::read_back(mm_struct& mm, vaddr_t addr) NO_THREAD_SAFETY_ANALYSIS {
  const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm, addr).pmdp), addr));
  if (pte_none(pte)) return 0;
  if (pte_present(pte)) return READ_ONCE(pfn_words(pte_pfn(pte))[0]);
  const u64 n = swp_slot(pte_to_swp_entry(pte));
  const pfn_t cached = swap_->slots[n].folio.get();
  return READ_ONCE(cached != 0 ? pfn_words(cached)[0] : swap_->words[n]);
}

file& testbed::new_file(u64 pages) { return open(inodes_.emplace_back(), pages); }

file& testbed::new_huge_file() {
  file& f = new_file(hpage_pmd_nr());
  require(collapse_file(f.mapping(), 0, {.max_ptes_none = hpage_pmd_nr(), .wanted_only = false}) ==
              scan_result::succeed,
          "there is no huge page");
  return f;
}

file& testbed::map_huge_file(mm_struct& mm) {
  file& f = new_huge_file();
  map_file(mm, 0, pmd_size(), f, 0, VM_READ | VM_WRITE | VM_SHARED);
  new_table(mm, 0);
  return f;
}

dev_dax& testbed::map_device(mm_struct& mm) {
  dev_dax& device = dax_devices_.emplace_back();
  require(dev_dax_probe(device, pmd_size(), pmd_size()) == 0, "no room for a device's memory");
  map_file(mm, 0, pmd_size(), open(device), 0, VM_READ | VM_WRITE | VM_SHARED);
  touch(mm, 0, FAULT_FLAG_WRITE, "dev");
  return device;
}

bool testbed::idle_without_uffd_wp() {
  if (pte_has_uffd_wp()) return false;
  for (int n = 0; n < 2; ++n)
    cpu([] {});
  return true;
}

void testbed::retract_tables(const file& f) {
  folio* huge = filemap_get_folio(f.mapping(), 0);
  folio_lock(huge);
  retract_page_tables(f.mapping(), 0);
  folio_unlock(huge);
  folio_put(huge);
}

file& testbed::open(inode& i, u64 pages) {
  atomic_set(i.i_size, static_cast<s64>(pages * PAGE_SIZE));
  {
    spin_guard xa_lock(i.i_data.i_pages.xa_lock);
    require(i.i_data.i_pages.reserve(pages - 1), "no frames for a file's tree");
  }
  return files_.emplace_back(i, FMODE_READ | FMODE_WRITE);
}

void testbed::map_file(mm_struct& mm, vaddr_t start, u64 bytes, file& f, u64 pgoff, vm_flags_t flags) {
  vm_area_struct& vma = new_area(mm, start, bytes, flags);
  get_file(f);
  vma.vm_file.set(&f);
  vma.vm_pgoff.set(pgoff);
  f.mapping().i_mmap.insert(vma.i_mmap_node, vma);
  if (vma_is_displaced(vma)) mm.existing_region(start)->displaced.insert(vma.displaced_node, vma);
}

void testbed::touch(mm_struct& mm, vaddr_t addr, fault_flags flags, const char* page_name) {
  vm_area_struct* vma = mm.existing_region(addr)->areas.find_vma(addr);
  require(vma != nullptr && handle_mm_fault(*vma, addr, flags) == fault_result::handled,
          "a page cannot be faulted in");
  pages_.try_emplace(page_to_pfn(page_at(mm, addr)), page_name);
}

void testbed::map_anonymous(mm_struct& mm, vaddr_t start, u64 bytes, const char* page_name,
                            vm_flags_t extra_flags) {
  vm_area_struct* vma = &new_area(mm, start, bytes, VM_READ | VM_WRITE | extra_flags);
  for (vaddr_t addr = start; addr < start + bytes; addr += PAGE_SIZE)
    require(handle_mm_fault(*vma, addr, FAULT_FLAG_WRITE) == fault_result::handled,
            "a page cannot be faulted in");
  pages_[page_to_pfn(page_at(mm, start))] = page_name;
}

page* testbed::new_page(unsigned order, const char* name) {
  page* p = alloc_pages(order, GFP_ZERO);
  require(p != nullptr, "no frames");
  pages_[page_to_pfn(p)] = name;
  return p;
}

void testbed::load_mm(unsigned id, mm_struct& mm) {
  WRITE_ONCE(machine.cpu(id).loaded_mm, &mm.context);
  WRITE_ONCE(machine.cpu(id).loaded_tlb_gen, atomic_read(mm.context.tlb_gen));
  set_bit(id, mm.context.cpumask);
}

page* testbed::page_at(mm_struct& mm, vaddr_t addr) {
  const pmd_t pmd = pmdp_get(find_pmd(mm, addr).pmdp);
  if (pmd_leaf(pmd)) return pfn_to_page(pmd_pfn(pmd) + pte_index(addr));
  return pfn_to_page(pte_pfn(ptep_get(pte_offset(pmd, addr))));
}

void testbed::link_regions(mm_struct& mm, vaddr_t from, vaddr_t to) {
  require(anon_vma_clone(*mm.existing_region(to), *mm.existing_region(from)), "no memory for a link");
}

void testbed::new_table(mm_struct& mm, vaddr_t addr) {
  require(pte_alloc(mm, pmd_alloc(mm, addr).pmdp), "no frame for a table");
}

unmap_range testbed::whole_table(vaddr_t addr) const {
  const u64 size = pmd_size();
  const vaddr_t start = addr & ~(size - 1);
  return {start, start + size, start, start + size};
}

} // namespace racewalk::inline RACEWALK_BACKEND
