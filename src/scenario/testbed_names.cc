// What variables and their values are called in race tables: by the object and the field that a reader of the
// sources knows.
//
// Names are those of the end of the set-up: a frame that becomes a table while bodies run is the page that it
// was. What they depend on is read then, for nothing may be read once bodies run.
#include <bit>
#include <span>

#include "arch/describe.h"
#include "arch/swapops.h"
#include "mm/anon_vma.h"
#include "mm/ksm.h"
#include "mm/page_pin.h"
#include "mm/shadow_table.h"
#include "mm/swapfile.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"
#include "scenario/hex.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

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

struct field {
  const void* at;
  const char* name;
};

/// The field that is at `addr`; null: none of these.
const char* find_field(const void* addr, std::initializer_list<field> fields) {
  for (const field& f : fields)
    if (f.at == addr) return f.name;
  return nullptr;
}

template <class T> bool is_inside(const void* addr, const T& object) {
  const std::less<const void*> before;
  return !before(addr, &object) && before(addr, &object + 1);
}

/// "A", "B" ... for the nth of several; nothing for the only one.
std::string letter(std::size_t n, std::size_t of) {
  return of > 1 ? std::string(1, static_cast<char>('A' + n)) : std::string();
}

} // namespace

// ---- what the testbed is told ----------------------------------------------------------------------------

void testbed::describe(const userfaultfd_ctx& uffd) {
  describe(&uffd.fault_lock, "uffd.fault_lock");
  describe(&uffd.next_turn, "uffd.next_turn");
  describe(&uffd.unread, "uffd.unread");
  describe(&uffd.users, "uffd.users");
  for (unsigned cpu = 0; cpu < machine.nr_cpus(); ++cpu) {
    const std::string wait = "uffd.waits[" + std::to_string(cpu) + "]";
    describe(&uffd.waits[cpu].state, wait);
    describe(&uffd.waits[cpu].turn, wait + ".turn");
    describe(&uffd.waits[cpu].addr, wait + ".addr");
    describe(&uffd.waits[cpu].flags, wait + ".flags");
  }
}

void testbed::describe(const ksm_stable_node& node, const std::string& name) {
  describe(&node.refs, name + ".refs");
  describe(&node.kpfn, name + ".kpfn");
  describe(&node.items, name + ".items");
  describe(&node.nr_items, name + ".nr_items");
}

void testbed::describe(const ksm_rmap_item& item, const std::string& name) {
  describe(&item.anon, name + ".anon");
  describe(&item.index, name + ".index");
  describe(&item.next, name + ".next");
  describe(&item.mergers, name + ".mergers");
}

void testbed::describe(const shadow_table& shadow) {
  shadow.for_each_variable(
      [this](const void* variable, const std::string& field) { describe(variable, "shadow." + field); });
  objects_[&shadow] = "shadow";
}

// ---- frames ----------------------------------------------------------------------------------------------

/// Finds the tables of an mm, those that are set aside for huge pages, too.
void testbed::name_tables(const mm_struct& mm) {
  const std::string whose = whose_is(mm);
  const auto name = [&](pfn_t pfn, unsigned level, vaddr_t start) { tables_[pfn] = {level, start, whose}; };
  name(mm.context.pgd, geometry().root_level(), 0);
  for (vaddr_t addr = 0; addr < geometry().address_limit(); addr += pmd_size()) {
    const pmd_lookup at = find_pmd(mm, addr);
    if (!at.found) continue;
    const pmd_t pmd = pmdp_get(at.pmdp);
    if (pmd_is_table(pmd)) name(pmd_table_pfn(pmd), PTE_LEVEL, addr);
    if (!pmd_trans_huge(pmd)) continue;
    for (pfn_t pfn = pmd_table_page(at.pmdp).private_.get(); pfn != 0; pfn = pfn_to_page(pfn)->private_.get())
      if (!tables_.contains(pfn)) name(pfn, PTE_LEVEL, addr);
  }
}

/// The frame that this is in; none: it is in no frame.
std::optional<pfn_t> testbed::frame_of(const void* addr) const {
  const auto* at = static_cast<const std::byte*>(addr);
  const auto* frames = machine.frames();
  if (at < frames || at >= frames + (machine.max_pfn() << PAGE_SHIFT)) return {};
  return static_cast<u64>(at - frames) >> PAGE_SHIFT;
}

std::string testbed::page_label(pfn_t pfn) const {
  if (const auto named = pages_.find(pfn); named != pages_.end()) return named->second;
  if (const auto t = tables_.find(pfn); t != tables_.end())
    return t->second.level == geometry().root_level() ? "root" + t->second.mm
                                                      : "table" + t->second.mm + "@" + hex(t->second.start);
  return "page" + std::to_string(pfn);
}

/// A word of a frame: an entry if it is a table. Empty: it is none.
std::string testbed::word_of_frame(const void* addr) const {
  const std::optional<pfn_t> pfn = frame_of(addr);
  if (!pfn) return {};
  const u64 offset = static_cast<u64>(static_cast<const std::byte*>(addr) - machine.frames());
  const u64 index = (offset & ~PAGE_MASK) / sizeof(word_t);
  const auto t = tables_.find(*pfn);
  if (t == tables_.end()) return page_label(*pfn) + ".data[" + std::to_string(index) + "]";
  static constexpr const char* level_names[] = {"pte", "pmd", "pud", "pgd"};
  return level_names[t->second.level] + t->second.mm + "[" +
         std::to_string(index + (t->second.level == PTE_LEVEL ? t->second.start / PAGE_SIZE : 0)) + "]";
}

std::string testbed::field_of_page(const void* addr) const {
  const auto* at = static_cast<const std::byte*>(addr);
  const auto* pages = reinterpret_cast<const std::byte*>(machine.pages());
  if (at < pages || at >= pages + machine.max_pfn() * sizeof(page)) return {};
  const pfn_t pfn = static_cast<u64>(at - pages) / sizeof(page);
  const page& p = machine.pages()[pfn];
  const char* name = find_field(addr, {{&p.flags, "flags"},
                                       {&p._refcount, "refcount"},
                                       {&p._mapcount, "mapcount"},
                                       {&p._pincount, "pincount"},
                                       {&p._entire_mapcount, "entire_mapcount"},
                                       {&p.compound_head, "compound_head"},
                                       {&p.mapping, "mapping"},
                                       {&p.index, "index"},
                                       {&p.private_, "private"},
                                       {&p.order, "order"},
                                       {&p.ptl, "ptl"}});
  return page_label(pfn) + (name == nullptr ? "" : std::string(".") + name);
}

// ---- CPUs and address spaces -----------------------------------------------------------------------------

std::string testbed::field_of_cpu(const void* addr) const {
  for (unsigned i = 0; i < machine.nr_cpus(); i++) {
    const Cpu& c = machine.cpu(i);
    const char* name = find_field(
        addr, {{&c.loaded_mm, "loaded_mm"}, {&c.is_lazy, "is_lazy"}, {&c.loaded_tlb_gen, "tlb_gen"}});
    if (name != nullptr) return "cpu" + std::to_string(i) + "." + name;
  }
  return {};
}

std::string testbed::whose_is(const mm_struct& mm) const {
  std::size_t n = 0;
  while (&mms_[n] != &mm)
    n++;
  return letter(n, mms_.size());
}

std::string testbed::field_of_mm(const void* addr) const {
  for (const mm_struct& mm : mms_) {
    if (!is_inside(addr, mm)) continue;
    const mmu_notifier_subscriptions& subscriptions = mm.notifier_subscriptions;
    const char* name = find_field(addr, {{&mm.context.cpumask, "cpumask"},
                                         {&mm.context.tlb_gen, "tlb_gen"},
                                         {&mm.page_table_lock, "page_table_lock"},
                                         {&mm.lockless_walkers, "walkers"},
                                         {&mm.tlb_flush_pending, "tlb_flush_pending"},
                                         {&mm.tlb_flush_batched, "tlb_flush_batched"},
                                         {&mm.flags, "mm_flags"},
                                         {&mm.write_protect_seq, "write_protect_seq"},
                                         {&subscriptions.list, "notifiers"},
                                         {&subscriptions.intervals, "interval_notifiers"},
                                         {&subscriptions.lock, "notifier_lock"},
                                         {&subscriptions.invalidate_seq, "invalidate_seq"},
                                         {&subscriptions.active_invalidate_ranges, "invalidate_ranges"}});
    if (name != nullptr) return "mm" + whose_is(mm) + "." + name;
  }
  return {};
}

/// What tells a region of this mm from others.
std::string testbed::place_of_region(const mm_struct& mm, const mmap_region& region) const {
  return whose_is(mm) + (region.start == 0 ? "" : "@" + hex(region.start));
}

/// Names what there is one of for a region of an mm: locks, trees, and the anon_vma that is its own.
void testbed::name_region(const mm_struct& mm, const mmap_region& region) {
  const std::string place = place_of_region(mm, region);
  variables_.try_emplace(&region.mmap_lock, "mmap_lock" + place);
  variables_.try_emplace(&region.anon_vma_lock, "anon_vma_lock" + place);
  region.areas.for_each_variable([&](const void* variable, const char* what, unsigned i) {
    variables_.try_emplace(variable, "areas" + place + "." + what + "[" + std::to_string(i) + "]");
  });
  if (region.anon == nullptr) return;
  variables_.try_emplace(&region.anon->rwsem, "anon_vma" + place + ".rwsem");
  objects_.try_emplace(region.anon, "anon_vma" + place);
}

void testbed::name_area(const vm_area_struct& vma) {
  objects_.try_emplace(&vma, "vma" + whose_is(*vma.vm_mm) + "@" + hex(vma.vm_start.get()));
}

/// Those that set-up calls have cut out of others, too. What is not in the tree is spare.
void testbed::name_areas(const mmap_region& region) {
  const vm_area_struct* vma = region.areas.find_vma(region.start);
  for (; vma != nullptr; vma = region.areas.find_vma(vma->vm_end.get()))
    name_area(*vma);
}

std::string testbed::area_label(const vm_area_struct& vma) const {
  const auto known = objects_.find(&vma);
  return known == objects_.end() ? "spare_vma" : known->second;
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

std::string testbed::field_of_area(const void* addr) const {
  const vm_area_struct* vma = area_at(addr);
  if (vma == nullptr) return {};
  const char* name = find_field(addr, {{&vma->vm_start, "vm_start"},
                                       {&vma->vm_end, "vm_end"},
                                       {&vma->vm_flags, "vm_flags"},
                                       {&vma->attached, "attached"},
                                       {&vma->vm_file, "vm_file"},
                                       {&vma->vm_pgoff, "vm_pgoff"},
                                       {&vma->vm_userfaultfd_ctx, "vm_userfaultfd_ctx"},
                                       {&vma->vm_lock, "vm_lock"},
                                       {&vma->bars, "bars"},
                                       {&vma->swap_readahead_info, "swap_readahead_info"},
                                       {&vma->next_free, "next_free"}});
  if (name == nullptr) name = is_inside(addr, vma->i_mmap_node) ? "i_mmap_node" : "displaced_node";
  return area_label(*vma) + "." + name;
}

// ---- files and devices -----------------------------------------------------------------------------------

std::string testbed::field_of_file(const void* addr) const {
  for (const disk_inode& i : disk_inodes_)
    for (unsigned n = 0; n < disk_inode::MAX_PAGES; ++n)
      if (addr == &i.disk[n]) return "disk[" + std::to_string(n) + "]";
  for (std::size_t n = 0; n < files_.size(); ++n) {
    const file& f = files_[n];
    const inode& i = *f.f_inode;
    const char* name = find_field(addr, {{&i.i_size, "size"},
                                         {&i.i_rwsem, "i_rwsem"},
                                         {&i.i_data.invalidate_lock, "invalidate_lock"},
                                         {&i.i_data.i_mmap_rwsem, "i_mmap_rwsem"},
                                         {&i.i_data.i_pages.xa_lock, "xa_lock"},
                                         {&i.i_data.nrpages, "nrpages"},
                                         {&i.i_data.wb_err, "wb_err"},
                                         {&f.f_lock, "f_lock"},
                                         {&f.f_wb_err, "f_wb_err"},
                                         {&f.f_count, "f_count"}});
    if (name == nullptr && is_inside(addr, i.i_data.i_mmap)) name = "i_mmap";
    if (name != nullptr) return "file" + letter(n, files_.size()) + "." + name;
  }
  return {};
}

/// Names what pointers to a file lead to, and where its pages are found.
void testbed::name_file(const file& f, const std::string& name) {
  objects_[&f] = objects_[&f.mapping()] = name;
  const u64 pages = static_cast<u64>(atomic_read(f.f_inode->i_size)) >> PAGE_SHIFT;
  f.mapping().i_pages.for_each_variable(pages, [&](const void* variable, u64 index) {
    variables_.try_emplace(variable, name + ".i_pages[" + std::to_string(index) + "]");
  });
}

std::string testbed::field_of_device(const void* addr) const {
  for (const dev_dax& dax : dax_devices_) {
    const char* name = find_field(addr, {{&dax.pgmap.ref, "ref"},
                                         {&dax.pgmap.dead, "dead"},
                                         {&dax.pgmap.done, "done"},
                                         {&dax.alive, "alive"}});
    if (name != nullptr) return std::string("pgmap.") + name;
  }
  std::string name;
  pgmaps_.for_each_variable([&](const void* variable, u64 section) {
    if (addr == variable) name = "pgmaps[" + std::to_string(section) + "]";
  });
  return name;
}

// ---- when the set-up is done ------------------------------------------------------------------------------

void testbed::settled() {
  for (const mm_struct& mm : mms_) {
    name_tables(mm);
    objects_[&mm.context] = "mm" + whose_is(mm);
    mm.for_each_region([&](const mmap_region& region) {
      name_region(mm, region);
      name_areas(region);
    });
  }
  for (const vm_area_struct* vma : areas_)
    name_area(*vma);
  for (std::size_t n = 0; n < files_.size(); ++n)
    name_file(files_[n], "file" + letter(n, files_.size()));
  for (const dev_dax& dax : dax_devices_)
    objects_[&dax.pgmap] = "pgmap";
}

// ---- names and values ------------------------------------------------------------------------------------

std::string testbed::name_of(const void* addr) const {
  if (const auto v = variables_.find(addr); v != variables_.end()) return v->second;
  using kind = std::string (testbed::*)(const void*) const;
  for (const kind name_by :
       {&testbed::word_of_frame, &testbed::field_of_page, &testbed::field_of_cpu, &testbed::field_of_mm,
        &testbed::field_of_area, &testbed::field_of_file, &testbed::field_of_device})
    if (std::string name = (this->*name_by)(addr); !name.empty()) return name;
  if (carries_messages(addr)) return "message";
  return "variable" + std::to_string(nameless_.try_emplace(addr, nameless_.size() + 1).first->second);
}

/// What a pointer leads to. Empty: to nothing that has a name, or it is no pointer.
std::string testbed::object_at(const void* addr) const {
  if (const auto o = objects_.find(addr); o != objects_.end()) return o->second;
  if (const vm_area_struct* vma = area_at(addr)) return area_label(*vma);
  // a pointer to an object's first field is one to the object
  const auto v = variables_.find(addr);
  return v == variables_.end() ? std::string() : "&" + v->second.substr(0, v->second.find('.'));
}

/// An entry, with pages and slots by their names.
std::string testbed::entry_text(const table& of, u64 value) const {
  const level_t level = geometry().level(of.level);
  const arch_desc& a = arch();
  if (of.level == PTE_LEVEL && !a.none(value, level) && !a.present(value, level)) {
    const swp_entry_t swp{a.swp_type(value), a.swp_offset(value)};
    if (is_swap_entry(swp))
      return "swap slot" + std::to_string(swp_slot(swp)) +
             ((swp.offset & swp_exclusive(a)) != 0 ? " exclusive" : "");
  }
  std::string text = describe_entry(a, level, value);
  if (const auto pfn = text.find("pfn="); pfn != std::string::npos) {
    std::size_t digits = 0;
    const pfn_t n = std::stoull(text.substr(pfn + 4), &digits);
    text.replace(pfn, 4 + digits, page_label(n));
  }
  return text;
}

/// What a file has at an index.
std::string testbed::file_entry_text(xa_entry entry) const {
  if (entry.none()) return "none";
  if (entry.is_retry()) return "retry";
  if (entry.is_swap()) return "slot" + std::to_string(entry.slot());
  return page_label(folio_pfn(entry.folio())) + ((entry.val & xa_entry::DIRTY) != 0 ? " dirty" : "") +
         ((entry.val & xa_entry::WRITEBACK) != 0 ? " writeback" : "");
}

std::string testbed::value_of(const void* addr, u64 value) const {
  if (const std::optional<pfn_t> pfn = frame_of(addr))
    if (const auto t = tables_.find(*pfn); t != tables_.end()) return entry_text(t->second, value);
  const std::string name = name_of(addr);
  const auto ends = [&](const char* s) { return name.ends_with(s); };
  if (ends("mm_flags")) return (value >> MMF_HAS_PINNED & 1) != 0 ? "has_pinned" : "0";
  if (ends(".vm_flags")) return flag_names(value, AREA_FLAGS);
  if (ends(".vm_start") || ends(".vm_end") || ends(".addr")) return hex(value);
  if (ends(".flags")) return flag_names(value, PAGE_FLAGS);
  if (ends("mask")) return hex(value);
  if (name.find(".i_pages[") != std::string::npos) return file_entry_text({value});
  if (name.starts_with("areas") && name.find(".start[") != std::string::npos) return hex(value);
  if (ends(".folio") || ends(".kpfn")) return value == 0 ? "none" : page_label(value);
  if (ends("loaded_mm") && value == 0) return "none";
  if (ends("loaded_mm") && value == std::bit_cast<u64>(loaded_mm_switching())) return "switching";
  if (carries_messages(addr)) return value ? "sent" : "none";
  if (name.starts_with("slot") && ends(".mapping")) value &= ~(swap_info::slot::KSM | swap_info::slot::SHMEM);
  if (value != 0)
    if (std::string object = object_at(std::bit_cast<const void*>(value)); !object.empty()) return object;
  // counts are 32 bits wide, and what looks like a negative one is
  const s64 number = value >> 32 ? static_cast<s64>(value) : static_cast<s32>(value);
  return number >> 32 == 0 || number >> 32 == -1 ? std::to_string(number) : hex(value);
}

// ---- the picture -----------------------------------------------------------------------------------------

explore::variable_place testbed::place_of(const void* addr) const {
  using enum explore::variable_kind;
  const std::string name = name_of(addr);
  if (const std::optional<pfn_t> pfn = frame_of(addr)) {
    if (tables_.contains(*pfn)) return {entry, page_label(*pfn), name};
    if (!variables_.contains(addr)) return {memory, page_label(*pfn), name.substr(name.rfind('.') + 1)};
  }
  const std::size_t dot = name.find('.');
  if (dot == std::string::npos) return {other, {}, name};
  const std::string object = name.substr(0, dot);
  const auto* at = static_cast<const std::byte*>(addr);
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
