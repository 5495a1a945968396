// As much of Arduino as our sketches use, on a computer: the serial port is a file descriptor, pins are lines of text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#define HIGH 1
#define LOW 0
#define INPUT 0
#define OUTPUT 1
#define INPUT_PULLUP 2
#define RISING 3
#define A0 14

uint32_t micros();
uint32_t millis();
void pinMode(uint8_t pin, uint8_t mode);
void digitalWrite(uint8_t pin, uint8_t value);
int digitalRead(uint8_t pin);
int analogRead(uint8_t pin);
long random(long low, long high);
void randomSeed(unsigned long seed);
void noInterrupts();
void interrupts();
void attachInterrupt(uint8_t interrupt, void (*handler)(), int mode);
inline uint8_t digitalPinToInterrupt(uint8_t pin) { return pin; }

struct SerialPort {
  void begin(unsigned long baud);
  int available();
  int read();
  size_t write(const uint8_t *bytes, size_t count);
  size_t write(uint8_t byte) { return write(&byte, 1); }
  void print(const char *text);
  void print(uint32_t number);
  void println(const char *text = "");
  void println(uint32_t number);
};
extern SerialPort Serial;
