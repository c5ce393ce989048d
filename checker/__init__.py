"""Decides from a history, and from nothing else, whether the promises held.

history       the file: one op a line, its writer, its reader, and its two orders
vocabulary    the values of ops, as types; effects: what faults do, and what that means; quorums
servers       what they last reported: who leads, and who follows whom
availability  the world at an instant: who is fit, who hears whom, which majority has to have a leader
promises      one module each; names: their order, and the names of earlier versions
routing       hands each op to the promises that need it
vacuity       what makes a verdict unknown
verdict       all promises over one history; summary: the same in sentences
"""
