// Every allocation of every operation may fail: the operation says so, and everything is as before. Each is
// tried with its first allocation failing, then with its second, until none is left to fail.
#include <cerrno>
#include <functional>
#include <map>
#include <ostream>

#include "mm/filemap.h"
#include "mm/gup.h"
#include "mm/iommu_sva.h"
#include "mm/migrate.h"
#include "mm/shadow_table.h"
#include "mm/shmem.h"
#include "mm/vma.h"
#include "racewalk/file.h"
#include "world.h"

namespace racewalk::test {
namespace {

/// Which allocations fail.
enum class kind : u8 { pages, objects };

/// What can be told of an mm without changing it.
struct snapshot {
  /// Areas that are alike and touch are one: only an area's cut may be left of what failed.
  struct area {
    vaddr_t end;
    vm_flags_t flags;
    bool operator==(const area&) const = default;
  };
  std::map<vaddr_t, area> areas;
  std::map<vaddr_t, u64> content; ///< first and last word of each page that is present, mixed
  s64 counters[NR_MM_COUNTERS]{};

  /// Tables that a failed fault got stay for the next one.
  bool operator==(const snapshot& o) const {
    return areas == o.areas && content == o.content && pages() == o.pages();
  }
  [[nodiscard]] s64 pages() const {
    s64 sum = 0;
    for (unsigned i = 0; i < NR_MM_COUNTERS; ++i)
      if (i != MM_PGTABLES) sum += counters[i];
    return sum;
  }
};

struct operation;

class FaultInjection : public World {
 public:
  using World::HUGE;
  mm_struct& of() { return mm; }
  AddressSpace& in() { return space; }
  Cpu& by() { return *cpu; }

  /// Small pages, or a huge one, each with its address in it.
  vaddr_t filled(bool huge) {
    const vaddr_t at = map(HUGE);
    if (huge) {
      EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_HUGEPAGE), 0);
    }
    for (vaddr_t a = at; a < at + HUGE; a += PAGE_SIZE)
      touch(a);
    return at;
  }
  vaddr_t small_pages() { return filled(false); }
  vaddr_t huge_page() { return filled(true); }
  vaddr_t untouched() { return map(HUGE); }

  File file = File::in_memory(system, HUGE).value();
  Device device{system.machine(), system.machine().nr_cpus()};
  iommu_sva sva{device};

 protected:
  snapshot look() {
    snapshot s;
    for (vaddr_t start = 0; start < geometry().address_limit();
         start += geometry().size(geometry().root_level()))
      if (mmap_region* region = mm.existing_region(start))
        for_each_vma(*region, region->start, region->end, [&](const vm_area_struct& vma) { see(s, vma); });
    for (unsigned i = 0; i < NR_MM_COUNTERS; ++i)
      s.counters[i] = get_mm_counter(mm, static_cast<mm_counter>(i));
    return s;
  }

 private:
  void see(snapshot& s, const vm_area_struct& vma) {
    const auto before = s.areas.empty() ? s.areas.end() : std::prev(s.areas.end());
    if (before != s.areas.end() && before->second.end == vma.vm_start.get() &&
        before->second.flags == vma.vm_flags.get())
      before->second.end = vma.vm_end.get();
    else
      s.areas[vma.vm_start.get()] = {vma.vm_end.get(), vma.vm_flags.get()};
    for (vaddr_t at = vma.vm_start.get(); at < vma.vm_end.get(); at += PAGE_SIZE)
      if (const page* p = page_at(at)) {
        const word_t* words = page_words(p);
        s.content[at] = READ_ONCE(words[0]) * 31 + READ_ONCE(words[PAGE_SIZE / sizeof(word_t) - 1]);
      }
  }
  const page* page_at(vaddr_t at) {
    const pmd_lookup found = find_pmd(mm, at);
    if (!found.found) return nullptr;
    const pmd_t pmd = pmdp_get(found.pmdp);
    if (pmd_trans_huge(pmd)) return pfn_to_page(pmd_pfn(pmd) + pte_index(at));
    if (!pmd_is_table(pmd)) return nullptr;
    const pte_t pte = ptep_get(pte_offset(pmd, at));
    return pte_present(pte) ? pfn_to_page(pte_pfn(pte)) : nullptr;
  }
};

/// What a call says, as 0 or a negative errno.
int said(const std::errc error) { return -static_cast<int>(error); }
template <class T> int said(const expected<T>& outcome) { return outcome ? 0 : said(outcome.error()); }
template <class T> int said(const result<T>& outcome) {
  if (outcome) return 0;
  return outcome.error() == fault_result::oom ? -ENOMEM : -EFAULT;
}

struct operation {
  const char* name;
  /// Where it is to work.
  std::function<vaddr_t(FaultInjection&)> prepare;
  /// 0 or a negative errno. What succeeded may be done again.
  std::function<int(FaultInjection&, vaddr_t)> run;
  bool fails_by_pages;   ///< there is an allocation of pages that it cannot do without
  bool fails_by_objects; ///< the same for objects
};
std::ostream& operator<<(std::ostream& out, const operation& o) { return out << o.name; }

const operation operations[] = {
    {"mmap", [](auto& w) { return w.untouched() + FaultInjection::HUGE / 2; },
     [](auto& w, vaddr_t) { return said(w.in().mmap(PAGE_SIZE, Access::read)); }, false, true},
    {"mmap_elsewhere", [](auto&) { return vaddr_t{1} << 40; },
     [](auto& w, vaddr_t at) { return said(w.in().mmap_fixed(at, PAGE_SIZE)); }, false, true},
    {"mmap_over_a_part", [](auto& w) { return w.small_pages(); },
     [](auto& w, vaddr_t at) { return said(w.in().mmap_fixed(at + PAGE_SIZE, PAGE_SIZE, Access::read)); },
     false, true},
    {"mmap_of_a_file", [](auto&) { return vaddr_t{0}; },
     [](auto& w, vaddr_t) { return said(w.in().mmap(w.file, 0, PAGE_SIZE)); }, false, true},
    {"munmap_of_a_part", [](auto& w) { return w.huge_page(); },
     [](auto& w, vaddr_t at) { return vm_munmap(w.of(), at + PAGE_SIZE, PAGE_SIZE); }, false, true},
    {"munmap", [](auto& w) { return w.small_pages(); },
     [](auto& w, vaddr_t at) { return vm_munmap(w.of(), at, FaultInjection::HUGE); }, false, false},
    {"mprotect_of_a_part", [](auto& w) { return w.huge_page(); },
     [](auto& w, vaddr_t at) { return vm_mprotect(w.of(), at + PAGE_SIZE, PAGE_SIZE, PROT_READ); }, false,
     true},
    {"madvise_of_a_part", [](auto& w) { return w.small_pages(); },
     [](auto& w, vaddr_t at) { return vm_madvise(w.of(), at + PAGE_SIZE, PAGE_SIZE, MADV_HUGEPAGE); }, false,
     true},
    {"dontneed_of_a_part", [](auto& w) { return w.huge_page(); },
     [](auto& w, vaddr_t at) { return vm_madvise(w.of(), at + PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED); }, false,
     false},
    {"collapse", [](auto& w) { return w.small_pages(); },
     [](auto& w, vaddr_t at) { return vm_madvise(w.of(), at, FaultInjection::HUGE, MADV_COLLAPSE); }, true,
     false},
    {"move", [](auto& w) { return w.small_pages(); },
     [](auto& w, vaddr_t at) { return migrate_page_at(w.of(), at); }, true, false},
    {"move_of_a_huge_page", [](auto& w) { return w.huge_page(); },
     [](auto& w, vaddr_t at) { return migrate_page_at(w.of(), at); }, true, false},
    {"split", [](auto& w) { return w.huge_page(); },
     [](auto& w, vaddr_t at) { return split_page_at(w.of(), at); }, false, false},
    {"load", [](auto& w) { return w.untouched(); },
     [](auto& w, vaddr_t at) { return said(w.by().template load<u64>(at)); }, true, false},
    {"store", [](auto& w) { return w.untouched(); },
     [](auto& w, vaddr_t at) { return said(w.by().template store<u64>(at, 0)); }, true, false},
    {"store_to_a_file", [](auto& w) { return w.in().mmap(w.file, 0, FaultInjection::HUGE).value(); },
     [](auto& w, vaddr_t at) { return said(w.by().template store<u64>(at, 0)); }, true, false},
    {"store_to_a_copy",
     [](auto& w) {
       const vaddr_t at = w.in().mmap(w.file, 0, FaultInjection::HUGE, Sharing::private_copy).value();
       EXPECT_TRUE(w.by().template load<u64>(at).ok());
       return at;
     },
     [](auto& w, vaddr_t at) { return said(w.by().template store<u64>(at, 0)); }, true, false},
    {"pin", [](auto& w) { return w.untouched(); },
     [](auto& w, vaddr_t at) { return said(w.in().pin(at, 1)); }, true, false},
    {"request_of_a_device",
     [](auto& w) {
       EXPECT_EQ(iommu_sva_bind_device(w.sva, w.of()), 0);
       return w.untouched();
     },
     [](auto& w, vaddr_t at) {
       const fault_result r = iommu_sva_handle_iopf(w.sva, at, true);
       return r == fault_result::handled ? 0 : r == fault_result::oom ? -ENOMEM : -EFAULT;
     },
     true, false},
    {"fault_of_a_virtual_machine", [](auto& w) { return w.untouched(); },
     [](auto& w, vaddr_t at) {
       shadow_table shadow(at, 1);
       EXPECT_EQ(shadow.attach(w.of()), 0);
       const int error = shadow.fault(at);
       EXPECT_EQ(shadow.detach(), 0);
       return error;
     },
     true, false},
};

class EachAllocation : public FaultInjection,
                       public ::testing::WithParamInterface<std::tuple<operation, kind>> {};

TEST_P(EachAllocation, MayFailAndAllIsAsBefore) {
  const operation& op = std::get<operation>(GetParam());
  const kind which = std::get<kind>(GetParam());
  fault_attr& allocations = which == kind::pages ? system.fail_page_alloc() : system.failslab();
  const vaddr_t at = op.prepare(*this);
  const snapshot before = look();
  const unsigned failures = fail_each_allocation(allocations, [&] {
    const int error = op.run(*this, at);
    if (error == 0) return false;
    EXPECT_EQ(error, -ENOMEM);
    EXPECT_TRUE(look() == before) << op.name << " failed and left something behind";
    return true;
  });
  EXPECT_EQ(failures > 0, which == kind::pages ? op.fails_by_pages : op.fails_by_objects);
}

TEST_P(EachAllocation, IsGivenBack) {
  const operation& op = std::get<operation>(GetParam());
  const kind which = std::get<kind>(GetParam());
  fault_attr& allocations = which == kind::pages ? system.fail_page_alloc() : system.failslab();
  const u64 frames_before = used_frames();
  const vaddr_t at = op.prepare(*this);
  fail_each_allocation(allocations, [&] { return op.run(*this, at) != 0; });
  EXPECT_EQ(vm_munmap(mm, 0, geometry().address_limit()), 0);
  EXPECT_TRUE(file.resize(0));
  EXPECT_TRUE(look().areas.empty());
  EXPECT_EQ(look().pages(), 0);
  EXPECT_EQ(tables(), 1) << "the root";
  file = File::in_memory(system, 0).value(); // its tree's nodes stay as long as a file does
  EXPECT_EQ(used_frames(), frames_before);
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<operation, kind>>& info) {
  const auto& [op, which] = info.param;
  return std::string(op.name) + (which == kind::pages ? "_without_pages" : "_without_objects");
}
INSTANTIATE_TEST_SUITE_P(FaultInjection, EachAllocation,
                         ::testing::Combine(::testing::ValuesIn(operations),
                                            ::testing::Values(kind::pages, kind::objects)),
                         name_of);

TEST(FaultInjectionOfASystem, AnAddressSpaceThatCannotBeMadeLeavesNothing) {
  System system(16 << 20, 1);
  const u64 before = system.free_frames();
  system.fail_page_alloc().fail_nth(1);
  EXPECT_THROW(AddressSpace{system}, std::system_error);
  EXPECT_FALSE(system.fail_page_alloc().pending());
  system.settle();
  EXPECT_EQ(system.free_frames(), before);
}

TEST(FaultInjectionOfASystem, AFileThatCannotBeMadeSaysSo) {
  System system(16 << 20, 1);
  const machine_scope here(system.machine());
  for (u64 nth = 1; nth <= 2; ++nth) {
    system.failslab().fail_nth(nth);
    const auto file = File::in_memory(system, PAGE_SIZE);
    ASSERT_FALSE(file.has_value());
    EXPECT_EQ(file.error(), std::errc::not_enough_memory);
  }
  EXPECT_TRUE(File::in_memory(system, PAGE_SIZE).has_value());
}

} // namespace
} // namespace racewalk::test
