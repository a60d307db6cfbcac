#include "mm/huge_zero_page.h"

#include "mm/mm_types.h"
#include "mm/page_alloc.h"
#include "mm/thp.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// One user more, if there is the page.
bool try_get_huge_zero_page(huge_zero_page& zero) {
  spin_guard lock(zero.lock);
  if (zero.users.get() == 0) return false;
  zero.users.set(zero.users.get() + 1);
  return true;
}

/// One user more, with `page`, which is null or zeros and nobody else's, as the page if there is none. False:
/// there is none, and null is no page. What is not needed goes back.
bool get_huge_zero_page(huge_zero_page& zero, page* page) {
  bool needed = false;
  bool got = false;
  {
    spin_guard lock(zero.lock);
    needed = zero.users.get() == 0 && page != nullptr;
    if (needed) WRITE_ONCE(zero.pfn, page_to_pfn(page));
    got = needed || zero.users.get() != 0;
    if (got) zero.users.set(zero.users.get() + 1);
  }
  if (!needed && page != nullptr) put_page(page);
  return got;
}

void put_huge_zero_page(huge_zero_page& zero) {
  page* unused = nullptr;
  {
    spin_guard lock(zero.lock);
    zero.users.set(zero.users.get() - 1);
    if (zero.users.get() == 0) unused = pfn_to_page(READ_ONCE(zero.pfn));
  }
  if (unused != nullptr) folio_put(page_folio(unused)); // it stays for who has pinned a page of it
}

} // namespace

folio* mm_get_huge_zero_folio(mm_struct& mm) {
  huge_zero_page& zero = *machine().huge_zero;
  // Acquire: who finds that the mm has a reference finds the page. Pairs with test_and_set_bit() below.
  if ((smp_load_acquire(mm.flags) & BIT(MMF_HUGE_ZERO_FOLIO)) == 0) {
    if (!try_get_huge_zero_page(zero)) {
      page* page = alloc_pages(hpage_pmd_order(), GFP_KERNEL | GFP_ZERO);
      count_vm_event(page == nullptr ? THP_ZERO_PAGE_ALLOC_FAILED : THP_ZERO_PAGE_ALLOC);
      if (!get_huge_zero_page(zero, page)) return nullptr;
    }
    if (test_and_set_bit(MMF_HUGE_ZERO_FOLIO, mm.flags)) put_huge_zero_page(zero); // another CPU was faster
  }
  return page_folio(pfn_to_page(READ_ONCE(zero.pfn)));
}

void mm_put_huge_zero_folio(mm_struct& mm) {
  if (test_bit(MMF_HUGE_ZERO_FOLIO, mm.flags)) put_huge_zero_page(*machine().huge_zero);
}

} // namespace racewalk::inline RACEWALK_BACKEND
