// What most scenarios start from: a machine with some memory, address spaces, and names for everything in
// them.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "machine/cpu.h"
#include "mm/dax.h"
#include "mm/fs.h"
#include "mm/memory.h"
#include "mm/page_alloc.h"
#include "racewalk/scenario.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// A file whose pages have one word each on a disk, which outlives what is in memory.
struct disk_inode : inode {
  disk_inode();
  static constexpr unsigned MAX_PAGES = 4;
  std::array<word_t, MAX_PAGES> disk;
};

struct ksm_rmap_item;
struct ksm_stable_node;
class shadow_table;
struct swap_disk;
struct userfaultfd_ctx;

class testbed : public scenario_world {
 public:
  /// `devices`: bodies that are not CPUs of the machine. `device_bytes`: room for memory of devices.
  explicit testbed(unsigned cpus, unsigned devices = 0, u64 device_bytes = 0);
  ~testbed() override;

  /// Adds the body of the next CPU. `twin`: a CPU with a lower number that does the same, in a scenario that
  /// does not tell the two apart.
  void cpu(std::function<void()> body, int twin = -1);
  /// Adds the body of the next device, after those of all CPUs. Its thread's number is device_id(n) for the
  /// nth.
  void device(std::function<void()> body);
  [[nodiscard]] unsigned device_id(unsigned n = 0) const { return machine.nr_cpus() + n; }
  /// The property of the final state: runs on each complete execution, reads what it likes, and says by
  /// VM_BUG_ON() what is lost.
  void finally(std::function<void()> property) { program.finally = std::move(property); }

  /// An address space, loaded on no CPU.
  mm_struct& new_mm();
  /// An area of anonymous memory that nobody has touched. What bodies map or cut in its region has memory, as
  /// far as one leaf of areas goes.
  vm_area_struct& new_area(mm_struct& mm, vaddr_t start, u64 bytes, vm_flags_t flags);
  /// Maps anonymous memory at [start, start + bytes) and faults it in; the first page gets the name.
  void map_anonymous(mm_struct& mm, vaddr_t start, u64 bytes, const char* page_name,
                     vm_flags_t extra_flags = VM_NONE);
  /// A file of so many pages, made of memory.
  file& new_file(u64 pages);
  /// A file of one huge page, made of memory.
  file& new_huge_file();
  /// The same, mapped shared at 0 by a table that has no entries yet.
  file& map_huge_file(mm_struct& mm);
  /// A device's memory of one huge page, mapped shared at 0 by one entry; its first page is called "dev".
  dev_dax& map_device(mm_struct& mm);
  /// An opening of it.
  file& open(dev_dax& device) { return files_.emplace_back(device, FMODE_READ | FMODE_WRITE); }
  /// Where entries have no bit for userfaultfd's write protection: two CPUs that do nothing, as registration
  /// is refused and there is nothing to lose. False: there is one.
  bool idle_without_uffd_wp();
  /// What the collapse of the file's pages does last, with the folio locked: tables that would map them one
  /// by one are taken away.
  static void retract_tables(const file& f);
  /// A file of so many pages on a disk. Stores to its shared mappings are tracked.
  file& new_disk_file(u64 pages);
  /// Maps a file's first page shared at 0 and stores to it: the page, called "p", which is dirty, with a
  /// reference.
  page* dirty_page_of(mm_struct& mm, file& f);
  /// Takes that mapping away: the page is in the file, and out of everybody's sight.
  void unmap_page_of(mm_struct& mm, file& f);
  /// The first word of a page as the disk has it.
  static u64 on_disk(const file& f, u64 index);
  /// The first word of a page as a reader gets it: from memory if it is there, else from the disk. For
  /// finally().
  static u64 read_back(const file& f, u64 index);
  /// Maps the file from page `pgoff` on at [start, start + bytes), VM_SHARED among `flags` or not, and
  /// touches nothing.
  void map_file(mm_struct& mm, vaddr_t start, u64 bytes, file& f, u64 pgoff, vm_flags_t flags);
  /// Faults the page at `addr` in, by a store or a load; if it has no name yet, it gets this one.
  void touch(mm_struct& mm, vaddr_t addr, fault_flags flags, const char* page_name);
  /// A swap file of so many slots, at most MAX_SLOTS, of which a page's first word is kept.
  void new_swap(unsigned slots);
  static constexpr unsigned MAX_SLOTS = 2;
  /// The first word of a page of private memory as a reader gets it: wherever it is. For finally().
  u64 read_back(mm_struct& mm, vaddr_t addr);
  /// A page that no address space maps, with one reference.
  page* new_page(unsigned order, const char* name);
  /// Loads the mm on the CPU that will run body `id`.
  void load_mm(unsigned id, mm_struct& mm);
  /// The page that is mapped at `addr` by a small or huge entry.
  page* page_at(mm_struct& mm, vaddr_t addr);
  /// Pages at `from` are going to be moved to `to`, which has areas: what that needs memory for.
  void link_regions(mm_struct& mm, vaddr_t from, vaddr_t to);
  /// Puts a table where `addr` has none.
  void new_table(mm_struct& mm, vaddr_t addr);
  /// The range of an address space's root entry, as munmap() of all of it would pass it on.
  unmap_range whole_table(vaddr_t addr) const;

  /// What a variable is called in race tables.
  void describe(const void* variable, std::string name) { variables_[variable] = std::move(name); }
  /// The same for all that these consist of.
  void describe(const userfaultfd_ctx& uffd); // "uffd"
  void describe(const ksm_stable_node& node, const std::string& name);
  void describe(const ksm_rmap_item& item, const std::string& name);
  void describe(const shadow_table& shadow); // "shadow"

  Machine machine;

 private:
  file& open(inode& i, u64 pages);
  /// A frame that is a table: whose, at which level, and from which address on.
  struct table {
    unsigned level;
    vaddr_t start;
    std::string mm;
  };

  void settled() override;

  // Names (testbed_names.cc). Of an address that is none of its kind the name is empty.
  std::string name_of(const void* addr) const;
  std::string word_of_frame(const void* addr) const;
  std::string field_of_page(const void* addr) const;
  std::string field_of_cpu(const void* addr) const;
  std::string field_of_mm(const void* addr) const;
  std::string field_of_area(const void* addr) const;
  std::string field_of_file(const void* addr) const;
  std::string field_of_device(const void* addr) const;
  std::string object_at(const void* addr) const;
  std::string value_of(const void* addr, u64 value) const;
  std::string entry_text(const table& of, u64 value) const;
  std::string file_entry_text(xa_entry entry) const;
  explore::variable_place place_of(const void* addr) const;
  explore::reading reading_of(const void* addr, u64 value) const;
  std::vector<explore::landmark> landmarks() const;
  std::optional<pfn_t> frame_of(const void* addr) const;
  std::string page_label(pfn_t pfn) const;
  const vm_area_struct* area_at(const void* addr) const;
  std::string area_label(const vm_area_struct& vma) const;
  std::string place_of_region(const mm_struct& mm, const mmap_region& region) const;
  std::string whose_is(const mm_struct& mm) const;
  void name_tables(const mm_struct& mm);
  void name_region(const mm_struct& mm, const mmap_region& region);
  void name_areas(const mmap_region& region);
  void name_area(const vm_area_struct& vma);
  void name_file(const file& f, const std::string& name);

  const unsigned devices_;
  machine_scope scope_{machine};
  pgmap_array pgmaps_{machine};
  page_allocator allocator_;
  std::deque<inode> inodes_;
  std::deque<disk_inode> disk_inodes_;
  std::deque<dev_dax> dax_devices_;
  std::deque<file> files_;
  std::deque<mm_struct> mms_;
  std::unique_ptr<swap_disk> swap_;
  std::map<pfn_t, std::string> pages_;
  std::map<pfn_t, table> tables_;
  std::vector<const vm_area_struct*> areas_; ///< that new_area() has made
  std::map<const void*, std::string> variables_;
  std::map<const void*, std::string> objects_; ///< what pointers lead to
  mutable std::map<const void*, std::size_t>
      nameless_; ///< numbered in the order in which they are told about
};

} // namespace racewalk::inline RACEWALK_BACKEND
