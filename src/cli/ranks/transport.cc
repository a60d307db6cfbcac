#include "cli/ranks/transport.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/personality.h>
#include <unistd.h>

#include "cli/usage.h"

namespace racewalk::cli {
namespace {

namespace fs = std::filesystem;

std::optional<unsigned> number_in_environment(const char* name) {
  const char* const text = std::getenv(name);
  if (!text) return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
  if (error != std::errc() || *end) return std::nullopt;
  return value;
}

/// Beside the program in a build tree; in the library directory of an installation.
std::vector<std::string> places_of_the_module() {
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  return {(here / "racewalk_mpi.so").string(),
          (here / RACEWALK_MODULES_FROM_BIN / "racewalk_mpi.so").lexically_normal().string()};
}

} // namespace

std::optional<launch> launched() {
  struct names {
    const char* rank;
    const char* size;
  };
  for (const names& n :
       {names{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, names{"PMI_RANK", "PMI_SIZE"}}) {
    const std::optional<unsigned> rank = number_in_environment(n.rank);
    const std::optional<unsigned> size = number_in_environment(n.size);
    if (rank && size && *size > 1) return launch{*rank, *size};
  }
  return std::nullopt;
}

void want_memory_as_in_all_ranks(char** argv) {
  const int now = personality(0xffffffff);
  if (now < 0 || (now & ADDR_NO_RANDOMIZE)) return;
  if (personality(static_cast<unsigned long>(now) | ADDR_NO_RANDOMIZE) < 0) return;
  execv(fs::read_symlink("/proc/self/exe").c_str(), argv);
}

std::unique_ptr<transport> connect_ranks() {
  for (const std::string& path : places_of_the_module()) {
    if (access(path.c_str(), R_OK) != 0) continue;
    void* const module = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL); // MPI loads modules of its own
    if (!module) throw usage_error(fmt::format("mpirun: cannot load the module for MPI: {}", dlerror()));
    using open_fn = transport*();
    auto* const open = reinterpret_cast<open_fn*>(dlsym(module, "racewalk_open_transport"));
    if (!open) throw usage_error(fmt::format("mpirun: {} is none of racewalk's modules", path));
    return std::unique_ptr<transport>(open());
  }
  throw usage_error(
      "mpirun: this racewalk was built without MPI (install libopenmpi-dev and build it again)");
}

} // namespace racewalk::cli
