// The dirty protocol, by a file whose disk is an array.
#include "mm/page_writeback.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>

#include "mm/filemap.h"
#include "mm/gup.h"
#include "mm/rmap.h"
#include "mm/vfs.h"
#include "mm/vmscan.h"
#include "world.h"

namespace racewalk::test {
namespace {

/// A file of four pages on a disk that fails when it is told to.
struct test_inode : inode {
  static constexpr unsigned PAGES = 4;
  test_inode() {
    static constexpr address_space_operations operations{
        .read_pages = read, .write_pages = write, .page_mkwrite = reserve};
    static constexpr inode_operations whole{.evict = evict};
    i_data.a_ops = &operations;
    i_op = &whole;
    i_data.tracks_dirty = true;
    atomic_set(i_size, PAGES * PAGE_SIZE);
  }

  static int read(address_space& mapping, u64 index, page* const* pages, unsigned nr) {
    auto& of = static_cast<test_inode&>(mapping.host);
    if (of.error != 0) return of.error;
    for (unsigned i = 0; i < nr; ++i)
      std::memcpy(page_address(pages[i]), of.disk[index + i].data(), PAGE_SIZE);
    return 0;
  }
  static void write(address_space& mapping, std::span<page_io> pages) {
    auto& of = static_cast<test_inode&>(mapping.host);
    if (of.meanwhile) of.meanwhile();
    for (page_io& io : pages) {
      io.error = of.error;
      if (io.error == 0) std::memcpy(of.disk[io.index].data(), page_address(io.content), PAGE_SIZE);
    }
  }
  static int reserve(address_space& mapping, folio*) {
    return static_cast<test_inode&>(mapping.host).no_room;
  }
  static void evict(inode& i) { delete static_cast<test_inode*>(&i); }

  u64 on_disk(u64 index) const {
    u64 word = 0;
    std::memcpy(&word, disk[index].data(), sizeof word);
    return word;
  }

  std::array<std::array<std::byte, PAGE_SIZE>, PAGES> disk{};
  int error = 0;
  int no_room = 0;
  std::function<void()> meanwhile; ///< what happens while pages are written
};

class Writeback : public World {
 protected:
  static constexpr u64 LENGTH = test_inode::PAGES * PAGE_SIZE;

  ~Writeback() override {
    EXPECT_EQ(vm_munmap(mm, at, LENGTH), 0);
    fput(*opening);
  }
  vaddr_t map_it(int type) {
    return static_cast<vaddr_t>(vm_mmap_file(mm, 0, LENGTH, PROT_READ | PROT_WRITE, type, *opening, 0));
  }
  void write(vaddr_t addr, u64 value) { ASSERT_TRUE(cpu->store<u64>(addr, value).ok()); }
  u64 read(vaddr_t addr) { return cpu->load<u64>(addr).value(); }
  u64 marks(u64 index) { return of->i_data.i_pages.load(index).val & xa_entry::MARKS; }
  /// What writeback does with the page.
  int write_back(u64 index) {
    folio* folio = filemap_get_folio(of->i_data, index);
    folio_lock(folio);
    const int error = writeback_folio(folio);
    folio_put(folio);
    return error;
  }
  reclaim_result reclaim(u64 index) {
    folio* folio = filemap_get_folio(of->i_data, index);
    const reclaim_result result = reclaim_folio(folio);
    folio_put(folio);
    return result;
  }

  test_inode* of = new test_inode;
  file* opening = new file(*of, FMODE_READ | FMODE_WRITE);
  vaddr_t at = map_it(MAP_SHARED);
};

TEST_F(Writeback, stores_reach_the_disk_each_time) {
  write(at, 1);
  EXPECT_EQ(marks(0), xa_entry::DIRTY);
  EXPECT_EQ(of->on_disk(0), 0U);
  EXPECT_EQ(write_back(0), 0);
  EXPECT_EQ(of->on_disk(0), 1U);
  EXPECT_EQ(marks(0), 0U);
  write(at, 2); // a fault: it was write-protected
  EXPECT_EQ(marks(0), xa_entry::DIRTY);
  EXPECT_EQ(write_back(0), 0);
  EXPECT_EQ(of->on_disk(0), 2U);
}

TEST_F(Writeback, what_is_clean_is_not_written) {
  EXPECT_EQ(read(at), 0U);
  of->error = -EIO;
  EXPECT_EQ(write_back(0), 0);
}

TEST_F(Writeback, pages_are_read_from_the_disk) {
  of->disk[2][8] = std::byte{7};
  EXPECT_EQ(read(at + 2 * PAGE_SIZE + 8), 7U);
  of->error = -EIO;
  EXPECT_EQ(cpu->load<u64>(at + 3 * PAGE_SIZE).error(), fault_result::sigbus);
  of->error = 0;
  EXPECT_EQ(read(at + 3 * PAGE_SIZE), 0U) << "what could not be read is read again";
}

TEST_F(Writeback, a_private_copy_is_not_written) {
  const vaddr_t own = map_it(MAP_PRIVATE);
  write(own, 5);
  EXPECT_EQ(read(at), 0U);
  EXPECT_EQ(marks(0), 0U);
  EXPECT_EQ(vm_munmap(mm, own, LENGTH), 0);
}

TEST_F(Writeback, an_error_leaves_the_page_dirty_and_is_told_once_to_each) {
  file* another = new file(*of, FMODE_READ);
  write(at, 1);
  of->error = -EIO;
  EXPECT_EQ(write_back(0), -EIO);
  EXPECT_EQ(marks(0), xa_entry::DIRTY);
  for (file* f : {opening, another}) {
    EXPECT_EQ(errseq::check_and_advance(of->i_data.wb_err, f->f_wb_err), -EIO);
    EXPECT_EQ(errseq::check_and_advance(of->i_data.wb_err, f->f_wb_err), 0);
  }
  of->error = -ENOSPC;
  EXPECT_EQ(write_back(0), -ENOSPC);
  EXPECT_EQ(errseq::check_and_advance(of->i_data.wb_err, opening->f_wb_err), -ENOSPC);
  of->error = 0;
  EXPECT_EQ(write_back(0), 0);
  EXPECT_EQ(of->on_disk(0), 1U);
  EXPECT_EQ(errseq::check_and_advance(of->i_data.wb_err, opening->f_wb_err), 0);
  atomic_inc(of->i_count); // `another` drops its own
  fput(*another);
}

TEST_F(Writeback, who_opens_after_an_error_that_was_seen_is_not_told) {
  errseq::set(of->i_data.wb_err, -EIO);
  EXPECT_EQ(errseq::sample(of->i_data.wb_err), 0U) << "nobody has seen it: the next who asks is told";
  EXPECT_EQ(errseq::check_and_advance(of->i_data.wb_err, opening->f_wb_err), -EIO);
  shared<u32> late{errseq::sample(of->i_data.wb_err)};
  EXPECT_EQ(errseq::check_and_advance(of->i_data.wb_err, late), 0);
  errseq::set(of->i_data.wb_err, -EIO);
  EXPECT_EQ(errseq::check_and_advance(of->i_data.wb_err, late), -EIO);
}

TEST_F(Writeback, who_was_waiting_is_told_although_another_call_has_been) {
  write(at, 1);
  of->meanwhile = [&] { // somebody else writes another page in vain, and a second fsync() is told
    errseq::set(of->i_data.wb_err, -EIO);
    EXPECT_EQ(errseq::check_and_advance(of->i_data.wb_err, opening->f_wb_err), -EIO);
  };
  EXPECT_EQ(vfs_fsync_range(*opening, 0, ~u64{0}, false), -EIO);
  of->meanwhile = nullptr;
  write(at, 2);
  EXPECT_EQ(vfs_fsync_range(*opening, 0, ~u64{0}, false), 0);
  EXPECT_EQ(of->on_disk(0), 2U);
}

TEST_F(Writeback, no_room_on_the_disk_is_a_fault) {
  EXPECT_EQ(read(at), 0U);
  of->no_room = -ENOSPC;
  EXPECT_EQ(cpu->store<u64>(at, 1).error(), fault_result::sigbus);
  EXPECT_EQ(cpu->store<u64>(at + PAGE_SIZE, 1).error(), fault_result::sigbus);
  of->no_room = 0;
  write(at, 1);
}

TEST_F(Writeback, reclaim_takes_what_is_clean) {
  write(at, 1);
  EXPECT_EQ(reclaim(0), reclaim_result::dirty);
  EXPECT_EQ(write_back(0), 0);
  EXPECT_EQ(read(at), 1U); // maps it again
  EXPECT_EQ(reclaim(0), reclaim_result::dropped);
  EXPECT_EQ(get_mm_counter(mm, MM_FILEPAGES), 0);
  of->disk[0][0] = std::byte{9};
  EXPECT_EQ(read(at), 9U) << "read from the disk";
}

TEST_F(Writeback, reclaim_leaves_what_is_pinned) {
  EXPECT_EQ(read(at), 0U);
  {
    PinnedPages pinned = space.pin(at, 1, Access::read).value();
    EXPECT_EQ(reclaim(0), reclaim_result::busy);
  }
  EXPECT_EQ(reclaim(0), reclaim_result::dropped);
}

TEST_F(Writeback, a_pinned_page_is_written_and_stays_dirty) {
  {
    PinnedPages pinned = space.pin(at, 1).value();
    pinned[0][0] = std::byte{3};
    EXPECT_EQ(write_back(0), 0);
    EXPECT_EQ(of->on_disk(0), 3U);
    EXPECT_EQ(marks(0), xa_entry::DIRTY);
    pinned[0][0] = std::byte{4}; // without a fault
  }
  EXPECT_EQ(write_back(0), 0);
  EXPECT_EQ(of->on_disk(0), 4U);
  EXPECT_EQ(marks(0), 0U);
}

TEST_F(Writeback, long_term_pins_for_writing_are_refused) {
  write(at, 1);
  page* got = nullptr;
  EXPECT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE | FOLL_LONGTERM, &got), -EFAULT);
  ASSERT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_LONGTERM, &got), 1);
  unpin_user_page(got);
  const vaddr_t own = map_it(MAP_PRIVATE);
  ASSERT_EQ(pin_user_pages_fast(mm, own, 1, FOLL_WRITE | FOLL_LONGTERM, &got), 1) << "it is a copy";
  unpin_user_page(got);
  EXPECT_EQ(vm_munmap(mm, own, LENGTH), 0);
}

} // namespace
} // namespace racewalk::test
