#include "racewalk/testbed.h"

#include <span>

#include "arch/describe.h"
#include "mm/anon_vma.h"
#include "mm/collapse_file.h"
#include "mm/filemap.h"
#include "mm/page_pin.h"
#include "mm/pgalloc.h"
#include "mm/rmap.h"
#include "mm/swapfile.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// 2 MiB, and as much again for each eight CPUs: each of them has pages set aside for what it may allocate.
constexpr u64 memory_of(unsigned cpus) { return (u64{2} << 20) * (1 + cpus / 8); }

void require(bool done, const char* what) {
  if (!done) throw setup_violation("SCENARIO", what);
}

/// Flags by their names: `locked|writeback`.
std::string flag_names(u64 flags, std::span<const std::pair<u64, const char*>> names) {
  std::string s;
  for (const auto& [flag, name] : names)
    if ((flags & flag) != 0) s += (s.empty() ? "" : "|") + std::string(name);
  return s.empty() ? "0" : s;
}
constexpr std::pair<u64, const char*> PAGE_FLAGS[] = {
    {BIT(PG_locked), "locked"}, {BIT(PG_writeback), "writeback"}, {BIT(PG_dirty), "dirty"},
    {BIT(PG_head), "head"},     {BIT(PG_anon), "anon"},           {BIT(PG_anon_exclusive), "exclusive"},
    {BIT(PG_ksm), "ksm"},       {BIT(PG_table), "table"}};
constexpr std::pair<u64, const char*> AREA_FLAGS[] = {{VM_READ, "read"},
                                                      {VM_WRITE, "write"},
                                                      {VM_EXEC, "exec"},
                                                      {VM_SHARED, "shared"},
                                                      {VM_SOFTDIRTY, "soft-dirty"}};

std::string hex(u64 v) {
  char buffer[24];
  std::snprintf(buffer, sizeof buffer, "%#llx", static_cast<unsigned long long>(v));
  return buffer;
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
  name_tables(mm);
  return mm;
}

namespace {

/// Names what belongs to a region. `place`: what tells it from others.
void name_region(std::map<const void*, std::string>& names, const mmap_region& region,
                 const std::string& place) {
  names[&region.mmap_lock] = "mmap_lock" + place;
  names[&region.anon_vma_lock] = "anon_vma_lock" + place;
  region.areas.for_each_variable([&](const void* variable, const char* what, unsigned i) {
    names[variable] = "areas" + place + "." + what + "[" + std::to_string(i) + "]";
  });
}

} // namespace

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
  require(region->areas.preallocate(), "no memory for what a body maps or cuts");
  const std::string whose = &mm == &mms_.front() ? "" : "B";
  areas_[vma] = "vma" + whose + "@" + hex(start);
  name_region(variables_, *region, whose + (region->start == 0 ? "" : "@" + hex(region->start)));
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
  name_tables(mm);
}

void testbed::map_anonymous(mm_struct& mm, vaddr_t start, u64 bytes, const char* page_name,
                            vm_flags_t extra_flags) {
  vm_area_struct* vma = &new_area(mm, start, bytes, VM_READ | VM_WRITE | extra_flags);
  for (vaddr_t addr = start; addr < start + bytes; addr += PAGE_SIZE)
    require(handle_mm_fault(*vma, addr, FAULT_FLAG_WRITE) == fault_result::handled,
            "a page cannot be faulted in");
  pages_[page_to_pfn(page_at(mm, start))] = page_name;
  name_tables(mm);
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
  name_tables(mm);
}

unmap_range testbed::whole_table(vaddr_t addr) const {
  const u64 size = pmd_size();
  const vaddr_t start = addr & ~(size - 1);
  return {start, start + size, start, start + size};
}

// ---- names -----------------------------------------------------------------------------------------------

void testbed::name_tables(mm_struct& mm) {
  const std::string whose =
      mms_.size() > 1 ? std::string(1, static_cast<char>('A' + (&mm == &mms_.front() ? 0 : 1))) : "";
  const unsigned root = geometry().root_level();
  tables_[mm.context.pgd] = {root, 0, whose};
  for (vaddr_t addr = 0; addr < geometry().address_limit(); addr += pmd_size()) {
    const pmd_lookup at = find_pmd(mm, addr);
    if (!at.found) continue;
    const pmd_t pmd = pmdp_get(at.pmdp);
    if (pmd_is_table(pmd)) tables_[pmd_table_pfn(pmd)] = {PTE_LEVEL, addr, whose};
  }
}

std::string testbed::page_label(pfn_t pfn) const {
  if (const auto named = pages_.find(pfn); named != pages_.end()) return named->second;
  if (const auto t = tables_.find(pfn); t != tables_.end())
    return t->second.level == geometry().root_level() ? "root" + t->second.mm
                                                      : "table" + t->second.mm + "@" + hex(t->second.start);
  return "page" + std::to_string(pfn);
}

/// The area whose memory this is in; null: there is none.
const vm_area_struct* testbed::area_at(const void* addr) const {
  const vm_area_struct* vma = nullptr;
  for (const mm_struct& mm : mms_)
    mm.for_each_region([&](const mmap_region& region) {
      if (vma == nullptr) vma = region.vm_area_at(addr);
    });
  return vma;
}

/// By what it is in the beginning.
std::string testbed::area_label(const vm_area_struct& vma) const {
  const auto known = areas_.find(&vma);
  return known == areas_.end() ? "spare" : known->second;
}

/// A field of an area; empty: it is none.
std::string testbed::area_field_of(const void* addr) const {
  const vm_area_struct* vma = area_at(addr);
  if (vma == nullptr) return {};
  const char* field = addr == &vma->vm_start    ? "vm_start"
                      : addr == &vma->vm_end    ? "vm_end"
                      : addr == &vma->vm_flags  ? "vm_flags"
                      : addr == &vma->attached  ? "attached"
                      : addr == &vma->vm_file   ? "vm_file"
                      : addr == &vma->vm_pgoff  ? "vm_pgoff"
                      : addr == &vma->vm_lock   ? "vm_lock"
                      : addr == &vma->bars      ? "bars"
                      : addr == &vma->next_free ? "next_free"
                                                : "field";
  return area_label(*vma) + "." + field;
}

std::string testbed::name_of(const void* addr) const {
  if (const auto v = variables_.find(addr); v != variables_.end()) return v->second;
  const auto* at = static_cast<const std::byte*>(addr);
  const auto* frames = machine.frames();
  if (at >= frames && at < frames + (machine.max_pfn() << PAGE_SHIFT)) {
    const u64 offset = static_cast<u64>(at - frames);
    const pfn_t pfn = offset >> PAGE_SHIFT;
    const u64 index = (offset & ~PAGE_MASK) / sizeof(word_t);
    const auto t = tables_.find(pfn);
    if (t == tables_.end()) return page_label(pfn) + ".data[" + std::to_string(index) + "]";
    static constexpr const char* level_names[] = {"pte", "pmd", "pud", "pgd"};
    return level_names[t->second.level] + t->second.mm + "[" +
           std::to_string(index + (t->second.level == PTE_LEVEL ? t->second.start / PAGE_SIZE : 0)) + "]";
  }
  const auto* pages = reinterpret_cast<const std::byte*>(machine.pages());
  if (at >= pages && at < pages + machine.max_pfn() * sizeof(page)) {
    const u64 offset = static_cast<u64>(at - pages);
    const page& p = machine.pages()[offset / sizeof(page)];
    const std::string label = page_label(offset / sizeof(page)) + ".";
    if (addr == &p.flags) return label + "flags";
    if (addr == &p._refcount) return label + "refcount";
    if (addr == &p._mapcount) return label + "mapcount";
    if (addr == &p._pincount) return label + "pincount";
    if (addr == &p._entire_mapcount) return label + "entire_mapcount";
    if (addr == &p.mapping) return label + "mapping";
    if (addr == &p.index) return label + "index";
    if (addr == &p.ptl) return label + "ptl";
    return label + "field" + std::to_string(offset % sizeof(page));
  }
  for (unsigned i = 0; i < machine.nr_cpus(); i++) {
    const Cpu& c = machine.cpu(i);
    const std::string cpu = "cpu" + std::to_string(i) + ".";
    if (addr == &c.loaded_mm) return cpu + "loaded_mm";
    if (addr == &c.is_lazy) return cpu + "is_lazy";
    if (addr == &c.loaded_tlb_gen) return cpu + "tlb_gen";
  }
  for (const mm_struct& mm : mms_) {
    const std::string whose =
        mms_.size() > 1 ? std::string("mm") + (&mm == &mms_.front() ? "A." : "B.") : "mm.";
    if (addr == &mm.context.cpumask) return whose + "cpumask";
    if (addr == &mm.context.tlb_gen) return whose + "tlb_gen";
    if (addr == &mm.lockless_walkers) return whose + "walkers";
    if (addr == &mm.tlb_flush_pending) return whose + "tlb_flush_pending";
    if (addr == &mm.notifier_subscriptions.list) return whose + "notifiers";
    if (addr == &mm.notifier_subscriptions.intervals) return whose + "interval_notifiers";
    if (addr == &mm.notifier_subscriptions.invalidate_seq) return whose + "invalidate_seq";
    if (addr == &mm.write_protect_seq) return whose + "write_protect_seq";
    if (addr == &mm.flags) return whose + "mm_flags";
  }
  if (std::string area = area_field_of(addr); !area.empty()) return area;
  for (const disk_inode& i : disk_inodes_)
    for (unsigned n = 0; n < disk_inode::MAX_PAGES; ++n)
      if (addr == &i.disk[n]) return "disk[" + std::to_string(n) + "]";
  for (const file& f : files_) {
    const inode& i = *f.f_inode;
    const std::string whose =
        files_.size() > 1 ? std::string("file") + (&f == &files_.front() ? "A." : "B.") : "file.";
    if (addr == &i.i_size) return whose + "size";
    if (addr == &i.i_data.i_mmap_rwsem) return whose + "i_mmap_rwsem";
    if (addr == &i.i_data.i_pages.xa_lock) return whose + "xa_lock";
    if (addr == &i.i_data.nrpages) return whose + "nrpages";
  }
  if (carries_messages(addr)) return "message";
  return "variable" + std::to_string(nameless_.try_emplace(addr, nameless_.size() + 1).first->second);
}

std::string testbed::value_of(const void* addr, u64 value) const {
  const std::string name = name_of(addr);
  const auto ends = [&](const char* s) { return name.ends_with(s); };
  const auto* at = static_cast<const std::byte*>(addr);
  const auto* frames = machine.frames();
  if (at >= frames && at < frames + (machine.max_pfn() << PAGE_SHIFT)) {
    const auto t = tables_.find(static_cast<u64>(at - frames) >> PAGE_SHIFT);
    if (t != tables_.end()) {
      std::string text = describe_entry(arch(), geometry().level(t->second.level), value);
      if (const auto pfn = text.find("pfn="); pfn != std::string::npos) {
        std::size_t digits = 0;
        const pfn_t n = std::stoull(text.substr(pfn + 4), &digits);
        text.replace(pfn, 4 + digits, page_label(n));
      }
      return text;
    }
  }
  if (ends("mm_flags")) return (value >> MMF_HAS_PINNED & 1) != 0 ? "has_pinned" : "0";
  if (ends(".vm_flags")) return flag_names(value, AREA_FLAGS);
  if (ends(".vm_start") || ends(".vm_end")) return hex(value);
  if (ends(".flags")) return flag_names(value, PAGE_FLAGS);
  if (ends("mask")) return hex(value);
  if (ends("loaded_mm")) {
    for (const mm_struct& mm : mms_)
      if (value == reinterpret_cast<u64>(&mm.context))
        return mms_.size() == 1 ? "mm" : &mm == &mms_.front() ? "mmA" : "mmB";
    if (value == reinterpret_cast<u64>(loaded_mm_switching())) return "switching";
    return value ? "mm" : "none";
  }
  if (carries_messages(addr)) return value ? "sent" : "none";
  if (const auto v = variables_.find(std::bit_cast<const void*>(value)); v != variables_.end())
    return "&" + v->second;
  if (const vm_area_struct* vma = area_at(std::bit_cast<const void*>(value))) return area_label(*vma);
  // counts are 32 bits wide, and what looks like a negative one is
  return std::to_string(value >> 32 ? static_cast<s64>(value) : static_cast<s32>(value));
}

// ---- the picture -----------------------------------------------------------------------------------------

explore::variable_place testbed::place_of(const void* addr) const {
  using enum explore::variable_kind;
  const std::string name = name_of(addr);
  const auto* at = static_cast<const std::byte*>(addr);
  const auto* frames = machine.frames();
  if (at >= frames && at < frames + (machine.max_pfn() << PAGE_SHIFT)) {
    const pfn_t pfn = static_cast<u64>(at - frames) >> PAGE_SHIFT;
    const std::string label = page_label(pfn);
    if (tables_.contains(pfn)) return {entry, label, name};
    return {memory, label, name.substr(name.rfind('.') + 1)};
  }
  const std::size_t dot = name.find('.');
  if (dot == std::string::npos) return {other, {}, name};
  const std::string object = name.substr(0, dot);
  const auto* pages = reinterpret_cast<const std::byte*>(machine.pages());
  const bool is_page = at >= pages && at < pages + machine.max_pfn() * sizeof(struct page);
  return {is_page                     ? page
          : object.starts_with("cpu") ? cpu
          : object.starts_with("mm")  ? mm
                                      : other,
          object, name.substr(dot + 1)};
}

explore::reading testbed::reading_of(const void* addr, u64 value) const {
  explore::reading r{value_of(addr, value), {}, {}};
  const explore::variable_place place = place_of(addr);
  if (place.kind == explore::variable_kind::entry) {
    const u64 offset = static_cast<u64>(static_cast<const std::byte*>(addr) - machine.frames());
    const level_t level = geometry().level(tables_.at(offset >> PAGE_SHIFT).level);
    if (arch().none(value, level) || !arch().present(value, level)) return r;
    r.target = page_label(arch().leaf(value, level) ? arch().pfn(value, level) : arch().table_pfn(value));
  } else if (place.field == "refcount" && static_cast<s32>(value) >= GUP_PIN_COUNTING_BIAS) {
    const s64 pins = static_cast<s32>(value) / GUP_PIN_COUNTING_BIAS;
    r.detail = std::to_string(pins) + (pins == 1 ? " pin + " : " pins + ") +
               std::to_string(static_cast<s32>(value) % GUP_PIN_COUNTING_BIAS);
  }
  return r;
}

/// Every entry of every table, and of each page that has a name what its struct page counts.
std::vector<explore::landmark> testbed::landmarks() const {
  std::vector<explore::landmark> all;
  for (const auto& t : tables_)
    for (unsigned i = 0; i < geometry().entries(); i++)
      all.push_back({pfn_words(t.first) + i, sizeof(word_t)});
  for (const auto& named : pages_) {
    const page& p = machine.pages()[named.first];
    all.push_back({&p.flags, sizeof p.flags});
    all.push_back({&p._refcount, sizeof p._refcount});
    all.push_back({&p._mapcount, sizeof p._mapcount});
  }
  return all;
}

} // namespace racewalk::inline RACEWALK_BACKEND
