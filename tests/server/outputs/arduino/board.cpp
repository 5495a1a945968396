// A board: runs a sketch whose serial port is the file descriptor PORT. Each change of a pin is a line on standard
// output: microseconds, pin, value. WIRE=8:2 connects pin 8 to pin 2; LIFT_US sets where micros() begins.
#include "Arduino.h"

#include <chrono>
#include <cstring>
#include <poll.h>
#include <string>
#include <unistd.h>

void setup();
void loop();

namespace {
int port = -1;
int pins[64];
int wire_from = -1, wire_to = -1;
void (*handler)() = nullptr;
int handler_pin = -1;
uint32_t lift_us = 0;
const auto started = std::chrono::steady_clock::now();

void end_where_closed(ssize_t result) {
  if (result <= 0) _exit(0);
}
}  // namespace

SerialPort Serial;

uint32_t micros() {
  const auto passed = std::chrono::steady_clock::now() - started;
  return lift_us + (uint32_t)std::chrono::duration_cast<std::chrono::microseconds>(passed).count();
}
uint32_t millis() {
  const auto passed = std::chrono::steady_clock::now() - started;
  return (uint32_t)std::chrono::duration_cast<std::chrono::milliseconds>(passed).count();
}
void pinMode(uint8_t pin, uint8_t mode) {
  printf("%u mode %u %u\n", micros(), pin, mode);
  fflush(stdout);
}
void digitalWrite(uint8_t pin, uint8_t value) {
  const bool rises = value && !pins[pin];
  pins[pin] = value;
  printf("%u pin %u %u\n", micros(), pin, value);
  fflush(stdout);
  if (pin == wire_from) {
    pins[wire_to] = value;
    if (rises && handler && handler_pin == wire_to) handler();
  }
}
int digitalRead(uint8_t pin) { return pins[pin]; }
int analogRead(uint8_t pin) { return pins[pin] ? 1023 : 0; }
long random(long low, long high) { return low + rand() % (high - low); }
void randomSeed(unsigned long seed) { srand((unsigned)seed); }
void noInterrupts() {}
void interrupts() {}
void attachInterrupt(uint8_t interrupt, void (*function)(), int) {
  handler = function;
  handler_pin = interrupt;
}

void SerialPort::begin(unsigned long) {}
int SerialPort::available() {
  pollfd one{port, POLLIN, 0};
  if (poll(&one, 1, 0) <= 0) return 0;
  if (!(one.revents & POLLIN) && (one.revents & POLLHUP)) return 0;  // nobody has it open at the moment
  return (one.revents & POLLIN) ? 1 : 0;
}
int SerialPort::read() {
  uint8_t byte = 0;
  end_where_closed(::read(port, &byte, 1));
  return byte;
}
size_t SerialPort::write(const uint8_t *bytes, size_t count) {
  end_where_closed(::write(port, bytes, count));
  return count;
}
void SerialPort::print(const char *text) { write((const uint8_t *)text, strlen(text)); }
void SerialPort::print(uint32_t number) { print(std::to_string(number).c_str()); }
void SerialPort::println(const char *text) {
  print(text);
  print("\r\n");
}
void SerialPort::println(uint32_t number) {
  print(number);
  print("\r\n");
}

int main() {
  if (const char *wire = getenv("WIRE")) sscanf(wire, "%d:%d", &wire_from, &wire_to);
  if (const char *lift = getenv("LIFT_US")) lift_us = (uint32_t)strtoul(lift, nullptr, 10);
  if (const char *number = getenv("PORT")) port = atoi(number);
  const pid_t parent = getppid();
  setup();
  while (getppid() == parent) {
    for (int turn = 0; turn < 20; turn++) loop();
    pollfd one{port, POLLIN, 0};
    poll(&one, 1, 0);
    if (!(one.revents & POLLIN)) usleep(100);
  }
}
