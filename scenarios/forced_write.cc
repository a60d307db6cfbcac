// H4: a write is forced into a private mapping that may only be read (ptrace, /proc/PID/mem).
//
// It must go to a copy, never to the file. The fault makes the copy but leaves the entry read-only, so the
// look-up after it needs another sign that the page is the copy. Dirty COW: the look-up no longer asked to
// write, and found the file's page, which a read fault had mapped because the copy had been given back
// meanwhile (CVE-2016-5195). Then the sign was a dirty entry, until a userfaultfd handler could map the
// file's page by an entry that is read-only and dirty (CVE-2022-2590). Now it is the page itself.
#include "catalogue.h"
#include "mm/filemap.h"
#include "mm/gup.h"
#include "mm/madvise.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  DONTNEED, ///< the copy is given back
  CONTINUE, ///< and a handler maps the page of the file in its place
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    file& f = new_file(1);
    map_file(mm_, PAGE_SIZE, PAGE_SIZE, f, 0, VM_READ | VM_SHARED);
    touch(mm_, PAGE_SIZE, FAULT_FLAG_NONE, "f"); // the page is in the file
    file_page_ = page_at(mm_, PAGE_SIZE);
    map_file(mm_, 0, PAGE_SIZE, f, 0, VM_READ);
    touch(mm_, 0, FAULT_FLAG_NONE, "f");
    if (shape == CONTINUE && userfaultfd_register(uffd_, 0, PAGE_SIZE, UFFDIO_REGISTER_MODE_MINOR) != 0)
      throw setup_violation("SCENARIO", "the page cannot be registered");
    describe(uffd_);
    cpu([this] {
      page* got = nullptr;
      if (pin_user_pages(mm_, 0, 1, FOLL_WRITE | FOLL_FORCE, &got) != 1) return;
      VM_BUG_ON(got == file_page_, "COW", "what is forced into a private mapping goes to the file");
    });
    cpu([this, shape] {
      (void)madvise_dontneed(mm_, 0, PAGE_SIZE);
      if (shape == CONTINUE) (void)mfill_atomic_continue(uffd_, 0, PAGE_SIZE, 0);
    });
  }

 private:
  mm_struct& mm_ = new_mm();
  userfaultfd_ctx uffd_{mm_};
  page* file_page_ = nullptr;
};

auto with(unsigned shape, force_write_t sign) {
  return [=](settings& s) {
    s.shape = shape;
    s.policy.force_write = sign;
  };
}

} // namespace

scenario forced_write() {
  using enum force_write_t;
  return {
      .id = "H4",
      .name = "forced_write",
      .summary = "a write is forced into a private mapping while the copy is given back",
      .source = "CVE-2016-5195 (Dirty COW), 19be0eaffa3a; CVE-2022-2590, 5535be309971",
      .threads = {"force", "dontneed"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"c", "shipped", "the page is exclusively the mm's", with(DONTNEED, exclusive), always_safe},
              {"c-M", "continue", "as c, the file's page is mapped by UFFDIO_CONTINUE",
               with(CONTINUE, exclusive), always_safe},
              {"a", "dropped_write", "after the fault it only asks to read", with(DONTNEED, dropped),
               always_violation},
              {"b", "dirty_entry", "after the fault the entry is to be dirty", with(DONTNEED, dirty),
               always_safe},
              {"b-M", "dirty_entry_continue", "as b, the file's page is mapped by UFFDIO_CONTINUE",
               with(CONTINUE, dirty), always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
