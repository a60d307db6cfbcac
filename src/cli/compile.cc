#include "cli/compile.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/ranks/transport.h"
#include "cli/temporary_directory.h"
#include "cli/usage.h"

namespace racewalk::cli {
namespace {

namespace fs = std::filesystem;
using words = std::vector<std::string>;

/// Beside the program in a build tree: its include directories, one a line.
constexpr const char* build_tree_note = "racewalk_include_directories";

words words_of(const std::string& text) {
  std::istringstream in(text);
  words all;
  for (std::string word; in >> word;)
    all.push_back(word);
  return all;
}

bool can_be_run(const std::string& program) {
  if (program.find('/') != std::string::npos) return access(program.c_str(), X_OK) == 0;
  const char* path = std::getenv("PATH");
  std::istringstream directories(path ? path : "");
  for (std::string directory; std::getline(directories, directory, ':');)
    if (access((directory + "/" + program).c_str(), X_OK) == 0) return true;
  return false;
}

/// The compiler, as the first words of a command.
words compiler() {
  if (const char* cxx = std::getenv("CXX"); cxx && *cxx) {
    words command = words_of(cxx);
    if (command.empty() || !can_be_run(command.front()))
      throw usage_error(fmt::format("CXX is '{}', which cannot be run", cxx));
    return command;
  }
  for (const char* name : {"c++", "g++", "clang++"})
    if (can_be_run(name)) return {name};
  throw usage_error("no C++ compiler is installed: `apt-get install g++`, or say which one by CXX");
}

words include_directories() {
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  words directories;
  std::ifstream note(here / build_tree_note);
  for (std::string line; std::getline(note, line);)
    directories.push_back(line);
  if (directories.empty()) {
    const fs::path installed = (here / RACEWALK_INCLUDE_FROM_BIN).lexically_normal();
    directories = {installed.string(), (installed / "racewalk" / "rooms").string()};
  }
  if (!fs::exists(fs::path(directories.front()) / "racewalk" / "scenario.h"))
    throw usage_error(fmt::format("the headers that belong to this program are not in '{}': install it as a "
                                  "whole (make install)",
                                  directories.front()));
  return directories;
}

words command_for(const std::string& source, const std::string& object) {
  words command = compiler();
  command.insert(command.end(), {"-std=c++20", "-O1", "-fPIC", "-shared", "-DRACEWALK_BACKEND=model"});
  for (const std::string& directory : include_directories())
    command.insert(command.end(), {"-isystem", directory}); // nobody wants to read warnings about our headers
  command.insert(command.end(), {"-o", object, "-x", "c++", source});
  return command;
}

/// This process's environment, with the compiler's own files in `directory`.
words environment_with_files_in(const std::string& directory) {
  words all = {"TMPDIR=" + directory};
  for (char** entry = environ; *entry; entry++)
    if (std::strncmp(*entry, "TMPDIR=", 7) != 0) all.emplace_back(*entry);
  return all;
}

std::vector<char*> pointers_to(words& all) {
  std::vector<char*> pointers;
  for (std::string& word : all)
    pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Runs the command with its output on stderr: stdout is for results. Did it succeed? (Of several ranks, each
/// compiles, and the first says what there is to say.)
bool run(words command, words environment) {
  const std::vector<char*> argv = pointers_to(command);
  const std::vector<char*> envp = pointers_to(environment);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (launched().value_or(launch{}).rank > 0)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw usage_error(fmt::format("cannot run '{}': {}", command[0], std::strerror(error)));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool is_cxx_source(const fs::path& file) {
  const std::string extension = file.extension().string();
  return extension == ".cc" || extension == ".cpp" || extension == ".cxx";
}

void require_source(const std::string& source) {
  std::error_code none;
  if (!is_cxx_source(source))
    throw usage_error(
        fmt::format("'{}' is not a C++ source: check takes scenarios' names and FILE.cc", source));
  if (!fs::exists(source, none)) throw usage_error(fmt::format("there is no file '{}'", source));
  if (!fs::is_regular_file(source, none) || access(source.c_str(), R_OK) != 0)
    throw usage_error(fmt::format("cannot read '{}'", source));
}

} // namespace

shared_object::~shared_object() {
  if (descriptor_ >= 0) close(descriptor_);
}
shared_object::shared_object(shared_object&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

std::string shared_object::path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

shared_object compile(const std::string& source) {
  require_source(source);
  const temporary_directory directory;
  const std::string object = directory.path() + "/scenario.so";
  const bool done =
      run(command_for(fs::absolute(source).string(), object), environment_with_files_in(directory.path()));
  if (interrupted()) throw interruption(fmt::format("interrupted while {} was compiled", source));
  if (!done) throw usage_error(fmt::format("{} does not compile", source));
  const int descriptor = open(object.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw usage_error(fmt::format("cannot open what {} was compiled to", source));
  return shared_object(descriptor);
}

bool names_a_file(const std::string& word) {
  return is_cxx_source(word) || word.find('/') != std::string::npos;
}

} // namespace racewalk::cli
