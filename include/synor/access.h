/* What a task does with a piece of data. */
#ifndef SYNOR_ACCESS_H
#define SYNOR_ACCESS_H

/** A set of bits: those that read have bit 0, those that change it bit 1. */
enum syn_access {
    SYN_READ = 1,
    SYN_WRITE = 2,       /* the old content is not looked at */
    SYN_UPDATE = 3,      /* read and written */
    SYN_COMMUTE = 3 | 4, /* an update that may change places with its neighbours that commute too */
    SYN_REDUCE = 3 | 8,  /* an update of a part result of its own; all are joined before a look */
};

#endif
