// Package setup is what `hbagent init` knows and decides, without asking anybody: what a person has said so far,
// what the machine has shown (internal/detect), the defaults that follow from both, and the config made of it.
//
// Every answer is judged at once, by the rules of internal/config and by no others: the Set and Add methods either take
// it, or say what is wrong with it and leave the Setup as it was. Nothing here touches the machine. A Setup belongs
// to one goroutine.
package setup
