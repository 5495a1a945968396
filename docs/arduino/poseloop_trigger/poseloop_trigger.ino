// Digital lines for poseloop's serial output: states, pulses and trains, whose time is kept here and not by the host.
//
// A message is one byte; some are followed by arguments and the complement of their sum. Each is answered with five
// bytes: its own with the highest bit set, or 0xFF where it is refused, and micros() when it was done, little-endian.
// docs/outputs.md has the table. Nothing here waits: loop() looks at the serial port and at the time, over and over.
//
// Works on every board with a serial port: Uno, Nano, Mega, Leonardo, Teensy, ESP32, RP2040.

#include <Arduino.h>

// ---- what you may want to change ----------------------------------------------------------------------------------
const unsigned long BAUD = 115200;                    // `baud` of the output
const uint8_t PINS[] = {2, 3, 4, 5, 6, 7, 8, 9};      // line 0 is pin 2, and so on; at most 8
const bool ACTIVE_HIGH = true;                        // false for a relay board that switches when its input is low
// --------------------------------------------------------------------------------------------------------------------

const uint8_t VERSION = 1;
const uint8_t LINES = sizeof(PINS);
const uint8_t TRAINS = 16;
const uint8_t MAX_ARGUMENTS = 13;
const uint32_t ARGUMENTS_WITHIN_MS = 100;

enum Message : uint8_t {
  MSG_HELLO = 0x01,      // rests, and is answered with four bytes more: "PL", the version, how many lines there are
  MSG_REST = 0x02,       // all lines off, no train, no watchdog
  MSG_ALIVE = 0x03,      // the host is there; not answered
  MSG_CONFIGURE = 0x04,  // place, line, pulse and gap in microseconds (4 bytes each), pulses (2 bytes), sum
  MSG_WATCHDOG = 0x05,   // milliseconds of silence after which the lines go off (2 bytes), 0: never; sum
  MSG_OFF = 0x10,        // + line
  MSG_ON = 0x18,         // + line
  MSG_START = 0x20,      // + place of the train
  MSG_DONE = 0x80,
  MSG_REFUSED = 0xFF,
};

struct Train {
  uint8_t line;
  uint32_t pulse_us;
  uint32_t gap_us;
  uint16_t pulses;  // 0: not told yet
};

struct Line {
  bool on;
  bool running;         // a train runs here
  uint8_t train;
  uint16_t left;        // pulses that have not ended
  uint32_t since_us;    // when it should have changed last: no error adds up over a train
};

Train trains[TRAINS];
Line lines[LINES];
bool greeted = false;            // since the reset: who has not greeted does not know our trains either
uint16_t watchdog_ms = 0;
uint32_t heard_ms = 0;

uint8_t message = 0;             // that is being read, with its arguments
uint8_t arguments[MAX_ARGUMENTS];
uint8_t expected = 0;
uint8_t got = 0;

void set_line(uint8_t line, bool on) {
  digitalWrite(PINS[line], on == ACTIVE_HIGH ? HIGH : LOW);
  lines[line].on = on;
}

void rest() {
  watchdog_ms = 0;
  for (uint8_t line = 0; line < LINES; line++) {
    lines[line].running = false;
    set_line(line, false);
  }
}

void answer(uint8_t first, uint32_t at_us) {
  uint8_t bytes[5] = {first, (uint8_t)at_us, (uint8_t)(at_us >> 8), (uint8_t)(at_us >> 16), (uint8_t)(at_us >> 24)};
  Serial.write(bytes, sizeof(bytes));
}

void say_who_we_are() {
  rest();
  greeted = true;
  const uint8_t bytes[4] = {'P', 'L', VERSION, LINES};
  answer(MSG_DONE | MSG_HELLO, micros());
  Serial.write(bytes, sizeof(bytes));
}

uint32_t read_u32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

uint16_t read_u16(const uint8_t *bytes) { return (uint16_t)(bytes[0] | (uint16_t)bytes[1] << 8); }

bool sum_is_right() {
  uint8_t sum = 0;
  for (uint8_t i = 0; i + 1 < expected; i++) sum += arguments[i];
  return arguments[expected - 1] == (uint8_t)~sum;
}

bool configure() {
  const uint8_t place = arguments[0], line = arguments[1];
  Train train = {line, read_u32(arguments + 2), read_u32(arguments + 6), read_u16(arguments + 10)};
  if (place >= TRAINS || line >= LINES || train.pulse_us == 0 || train.pulses == 0) return false;
  for (uint8_t i = 0; i < LINES; i++) {
    if (lines[i].running && lines[i].train == place) return false;  // not under a train that runs
  }
  trains[place] = train;
  return true;
}

bool set_watchdog() {
  watchdog_ms = read_u16(arguments);
  return true;
}

bool start(uint8_t place, uint32_t now_us) {
  const Train &train = trains[place];
  if (train.pulses == 0) return false;
  Line &line = lines[train.line];
  set_line(train.line, true);
  line.running = true;
  line.train = place;
  line.left = train.pulses;
  line.since_us = now_us;
  return true;
}

bool switch_line(uint8_t line, bool on) {
  if (line >= LINES) return false;
  lines[line].running = false;
  set_line(line, on);
  return true;
}

bool act(uint8_t byte, uint32_t now_us) {
  if (!greeted) return false;
  if (byte == MSG_REST) {
    rest();
    return true;
  }
  if (byte == MSG_CONFIGURE) return sum_is_right() && configure();
  if (byte == MSG_WATCHDOG) return sum_is_right() && set_watchdog();
  if (byte >= MSG_OFF && byte < MSG_OFF + 8) return switch_line(byte - MSG_OFF, false);
  if (byte >= MSG_ON && byte < MSG_ON + 8) return switch_line(byte - MSG_ON, true);
  if (byte >= MSG_START && byte < MSG_START + TRAINS) return start(byte - MSG_START, now_us);
  return false;
}

void obey(uint8_t byte) {
  const uint32_t now_us = micros();
  if (byte == MSG_HELLO) {
    say_who_we_are();
  } else if (byte != MSG_ALIVE) {
    answer(act(byte, now_us) ? MSG_DONE | byte : MSG_REFUSED, now_us);
  }
}

void read_byte(uint8_t byte) {
  heard_ms = millis();
  if (expected > 0) {
    arguments[got++] = byte;
    if (got == expected) {
      obey(message);
      expected = 0;
    }
    return;
  }
  message = byte;
  got = 0;
  expected = byte == MSG_CONFIGURE ? 13 : byte == MSG_WATCHDOG ? 3 : 0;
  if (expected == 0) obey(byte);
}

void step_line(uint8_t index) {
  Line &line = lines[index];
  if (!line.running) return;
  const Train &train = trains[line.train];
  const uint32_t lasts_us = line.on ? train.pulse_us : train.gap_us;
  if ((uint32_t)(micros() - line.since_us) < lasts_us) return;  // right across the overflow of micros() too
  line.since_us += lasts_us;
  if (line.on && --line.left == 0) line.running = false;
  set_line(index, !line.on);
}

void watch() {
  const uint32_t silent_ms = millis() - heard_ms;
  if (expected > 0 && silent_ms > ARGUMENTS_WITHIN_MS) expected = 0;  // the host died in the middle of a message
  if (watchdog_ms > 0 && silent_ms > watchdog_ms) {
    rest();
    greeted = false;  // a host that comes back has to greet first, and so learns of it
  }
}

void setup() {
  for (uint8_t line = 0; line < LINES; line++) {
    set_line(line, false);  // before the pin drives anything
    pinMode(PINS[line], OUTPUT);
  }
  Serial.begin(BAUD);
}

void loop() {
  if (Serial.available() > 0) read_byte((uint8_t)Serial.read());
  for (uint8_t line = 0; line < LINES; line++) step_line(line);
  watch();
}
