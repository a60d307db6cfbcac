// H5: who gets the copy when a page that two processes share is stored to?
//
// A child reads the parent's page through a pin (vmsplice, O_DIRECT) and may then unmap it. If the parent's
// next store goes to the page itself because nobody else maps it, the child reads along (CVE-2020-29374). So
// references were counted instead: then every pin makes its own process's store go to a copy, and a device
// works on a page that nobody sees any more. What both want is that a pin, also one to read, is of a page
// that is exclusively its process's: PG_anon_exclusive, and a fault that unshares.
#include "catalogue.h"
#include "mm/fork.h"
#include "mm/gup.h"
#include "mm/madvise.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  LEAK,     ///< the child unmaps what it has pinned: does it see what the parent stores?
  COHERENT, ///< the child stores to what it has pinned: does the pin's holder see it?
};

constexpr u64 OF_PARENT = 1;
constexpr u64 OF_CHILD = 2;

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_anonymous(parent_, 0, PAGE_SIZE, "p");
    (void)dup_areas(child_, parent_);
    (void)copy_pages(child_, parent_);
    load_mm(0, child_);
    load_mm(1, parent_);
    cpu([this, shape] {
      got_ = nullptr;
      if (pin_user_pages_fast(child_, 0, 1, FOLL_NONE, &got_) != 1) got_ = nullptr;
      if (shape == LEAK)
        (void)madvise_dontneed(child_, 0, PAGE_SIZE);
      else
        (void)this_cpu().store<u64>(0, OF_CHILD);
    });
    cpu([] { (void)this_cpu().store<u64>(0, OF_PARENT); });
    finally([this, shape] {
      if (got_ == nullptr) return;
      const u64 seen = READ_ONCE(page_words(got_)[0]);
      VM_BUG_ON(seen == OF_PARENT, "COW-LEAK",
                "the child's pin shows what the parent has stored since the fork");
      VM_BUG_ON(shape == COHERENT && seen != OF_CHILD, "PIN-COHERENT",
                "the child has stored to its memory, and its pin of that memory shows something else");
    });
  }

 private:
  mm_struct& parent_ = new_mm();
  mm_struct& child_ = new_mm();
  page* got_ = nullptr;
};

auto with(unsigned shape, cow_reuse_t reuse) {
  return [=](settings& s) {
    s.shape = shape;
    s.policy.cow_reuse = reuse;
    s.policy.gup_unshares = reuse == cow_reuse_t::exclusive;
  };
}

} // namespace

scenario cow_either_way() {
  return {
      .id = "H5",
      .name = "cow_either_way",
      .summary = "a child pins a page to read it that it shares with its parent, and both store",
      .source = "CVE-2020-29374; 09854ba94c6a; 'COW may go either way' (linux-mm, 2020); 6c287605fd56, "
                "a7f226604170",
      .threads = {"child", "parent"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"c", "shipped", "a pin is of a page that is exclusively its mm's; the child unmaps", nullptr,
               always_safe},
              {"c-C", "coherent", "as c, the child stores", with(COHERENT, cow_reuse_t::exclusive),
               always_safe},
              {"a", "mapcount", "a store keeps the page if nobody else maps it; the child unmaps",
               with(LEAK, cow_reuse_t::mapcount), always_violation},
              {"b", "refcount", "if nobody else has a reference; the child unmaps",
               with(LEAK, cow_reuse_t::refcount), always_safe},
              {"b-C", "refcount_coherent", "as b, the child stores", with(COHERENT, cow_reuse_t::refcount),
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
