#include "process.h"

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace racewalk::cli {
namespace {

std::string contents_of(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream(name).rdbuf();
  return text.str();
}

void redirect(int descriptor, const char* name) {
  const int file = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || dup2(file, descriptor) < 0) _exit(127);
}

} // namespace

process::process(const std::string& program, const std::vector<std::string>& arguments,
                 const std::string& directory)
    : pid_(0), directory_(directory) {
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& a : arguments)
    argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);

  pid_ = fork();
  if (pid_ != 0) return;
  if (chdir(directory.c_str()) != 0) _exit(127);
  redirect(STDOUT_FILENO, "stdout");
  redirect(STDERR_FILENO, "stderr");
  execv(program.c_str(), argv.data());
  _exit(127);
}

void process::signal(int number) const { kill(pid_, number); }

bool process::has_ended() const {
  siginfo_t who{};
  return waitid(P_PID, static_cast<id_t>(pid_), &who, WEXITED | WNOHANG | WNOWAIT) == 0 && who.si_pid == pid_;
}

outcome process::wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          contents_of(directory_ + "/stdout"), contents_of(directory_ + "/stderr")};
}

} // namespace racewalk::cli
